//! Tests of `schema`.

use super::{Additional, ArgumentFault, InputSchema, TooLarge};
use crate::json::{Limits, Raw, parse};

fn json(text: &str) -> Raw<'_> {
    parse(text.as_bytes(), &Limits::reply()).expect("legal")
}

fn read(schema: &str) -> InputSchema {
    InputSchema::read(Some(json(schema))).expect("of readable size")
}

/// The undeclared names, or the name that has a twin.
fn check(schema: &str, arguments: &str) -> Result<Vec<String>, String> {
    match read(schema).check(json(arguments)) {
        Ok(undeclared) => Ok(undeclared
            .iter()
            .map(|key| key.string().unwrap_or_default().into_owned())
            .collect()),
        Err(ArgumentFault::Twin(name)) => Err(name.into()),
        Err(ArgumentFault::NotAnObject) => Err("not an object".to_owned()),
    }
}

const PATH: &str =
    r#"{"type":"object","properties":{"path":{"type":"string"},"max":{"type":"integer"}}}"#;

#[test]
fn twins_of_declared_names_are_refused() {
    for arguments in [
        r#"{"PATH":"/etc"}"#,
        r#"{"path":"/srv","PATH":"/etc"}"#,
        r#"{"path":"/srv","Path":"/etc"}"#,
        r#"{"path":"/srv","pat\u0048":"/etc"}"#,
        r#"{"path":"/srv","ｐａｔｈ":"/etc"}"#,
        r#"{"path":"/srv","pa\u200bth":"/etc"}"#,
        r#"{"other":1,"pAth":"/etc"}"#,
    ] {
        assert_eq!(
            check(PATH, arguments),
            Err("path".to_owned()),
            "{arguments}"
        );
    }
    let key = r#"{"properties":{"key":{},"user":{}}}"#;
    assert_eq!(check(key, "{\"\u{212a}ey\":1}"), Err("key".to_owned()));
    assert_eq!(check(key, "{\"u\u{17f}er\":1}"), Err("user".to_owned()));
}

#[test]
fn twins_of_each_other_are_refused_at_the_top_whatever_the_schema() {
    for schema in [
        PATH,
        r#"{"type":"object"}"#,
        r#"{"additionalProperties":true}"#,
        "{}",
    ] {
        assert_eq!(
            check(schema, r#"{"x":1,"X":2}"#),
            Err("x".to_owned()),
            "{schema}"
        );
    }
    let open = InputSchema::read(None).expect("open");
    assert!(open.check(json(r#"{"x":1,"X":2}"#)).is_err());
    assert!(open.check(json(r#"{"x":1,"y":{"a":1,"A":2}}"#)).is_ok());
    // Both declared: one at a time.
    let both = r#"{"properties":{"a":{},"A":{}}}"#;
    assert_eq!(check(both, r#"{"A":1}"#), Ok(Vec::new()));
    assert_eq!(check(both, r#"{"a":1,"A":2}"#), Err("a".to_owned()));
}

#[test]
fn only_objects_are_arguments() {
    for arguments in ["[]", "1", "\"a\"", "null", "true", r#"["path"]"#] {
        assert_eq!(
            check(PATH, arguments),
            Err("not an object".to_owned()),
            "{arguments}"
        );
    }
}

/// Schemas with an object `INNER` in them, and arguments that reach it.
const NESTED: [(&str, &str); 12] = [
    (r#"{"properties":{"a":INNER}}"#, r#"{"a":TWINS}"#),
    (
        r#"{"properties":{"a":{"type":"array","items":INNER}}}"#,
        r#"{"a":[{},TWINS]}"#,
    ),
    (
        r#"{"properties":{"a":{"prefixItems":[{},INNER]}}}"#,
        r#"{"a":[1,TWINS]}"#,
    ),
    (
        r#"{"properties":{"a":{"additionalProperties":INNER}}}"#,
        r#"{"a":{"any":TWINS}}"#,
    ),
    (
        r#"{"properties":{"a":{"patternProperties":{"x":INNER}}}}"#,
        r#"{"a":{"any":TWINS}}"#,
    ),
    (
        r##"{"$defs":{"D":INNER},"properties":{"a":{"$ref":"#/$defs/D"}}}"##,
        r#"{"a":TWINS}"#,
    ),
    (
        r##"{"$defs":{"D":INNER},"properties":{"a":{"anyOf":[{"$ref":"#/$defs/D"},{"type":"null"}]}}}"##,
        r#"{"a":TWINS}"#,
    ),
    (
        r##"{"definitions":{"D":INNER},"properties":{"a":{"items":{"$ref":"#/definitions/D"}}}}"##,
        r#"{"a":[TWINS]}"#,
    ),
    (
        r##"{"properties":{"b":INNER,"a":{"$ref":"#/properties/b"}}}"##,
        r#"{"a":TWINS}"#,
    ),
    (
        r#"{"allOf":[{"properties":{"a":INNER}}]}"#,
        r#"{"a":TWINS}"#,
    ),
    (
        r#"{"if":{},"then":{"properties":{"a":INNER}}}"#,
        r#"{"a":TWINS}"#,
    ),
    // A schema that holds itself.
    (
        r##"{"properties":{"path":{},"child":{"$ref":"#"}}}"##,
        r#"{"child":{"child":TWINS}}"#,
    ),
];

#[test]
fn nested_objects_are_looked_into_where_the_schema_declares_their_names() {
    let inner = r#"{"type":"object","properties":{"path":{"type":"string"}}}"#;
    for twins in [r#"{"path":"a","PATH":"b"}"#, r#"{"PATH":"b"}"#] {
        for (schema, arguments) in NESTED {
            let schema = schema.replace("INNER", inner);
            let arguments = arguments.replace("TWINS", twins);
            let found = check(&schema, &arguments);
            assert_eq!(found, Err("path".to_owned()), "{schema} {arguments}");
        }
    }
}

#[test]
fn maps_and_documents_pass_untouched() {
    let twins = r#"{"a":{"x":1,"X":2}}"#;
    for schema in [
        r#"{"properties":{"a":{}}}"#,
        r#"{"properties":{"a":true}}"#,
        r#"{"properties":{"a":{"type":"object"}}}"#,
        r#"{"properties":{"a":{"additionalProperties":{"type":"integer"}}}}"#,
        r##"{"properties":{"a":{"$ref":"#"}}}"##
            .replace("#\"}", "#/none\"}")
            .as_str(),
        r#"{"properties":{"a":{"$ref":"https://elsewhere.example/schema.json"}}}"#,
    ] {
        assert_eq!(check(schema, twins), Ok(Vec::new()), "{schema}");
    }
}

#[test]
fn undeclared_names_are_told_in_order_and_only_those_of_the_top() {
    assert_eq!(
        check(
            PATH,
            r#"{"z":1,"path":"a","toolCallId":"x","max":{"deep":1}}"#
        ),
        Ok(vec!["z".to_owned(), "toolCallId".to_owned()])
    );
    let nested = r#"{"properties":{"a":{"properties":{"b":{}}}}}"#;
    assert_eq!(check(nested, r#"{"a":{"b":1,"c":2}}"#), Ok(Vec::new()));
    let composed = r##"{"$defs":{"D":{"properties":{"b":{}}}},"properties":{"a":{}},"anyOf":[{"$ref":"#/$defs/D"}]}"##;
    assert_eq!(
        check(composed, r#"{"a":1,"b":2,"c":3}"#),
        Ok(vec!["c".to_owned()])
    );
}

#[test]
fn a_schema_is_plain_open_or_closed() {
    let with = |more: &str| format!(r#"{{"type":"object","properties":{{"a":{{}}}}{more}}}"#);
    for (schema, said) in [
        (with(""), Additional::Plain),
        (
            with(r#","required":["a"],"$schema":"x","title":"t","description":"d""#),
            Additional::Plain,
        ),
        (
            r#"{"type":"object","properties":{}}"#.to_owned(),
            Additional::Plain,
        ),
        (with(r#","additionalProperties":false"#), Additional::Closed),
        (
            with(r#","unevaluatedProperties":false"#),
            Additional::Closed,
        ),
        (with(r#","additionalProperties":true"#), Additional::Open),
        (
            with(r#","additionalProperties":{"type":"string"}"#),
            Additional::Open,
        ),
        (with(r#","patternProperties":{"^x":{}}"#), Additional::Open),
        (
            with(r#","patternProperties":{"^x":{}},"additionalProperties":false"#),
            Additional::Open,
        ),
        (
            with(r#","propertyNames":{"pattern":"^a"}"#),
            Additional::Open,
        ),
        (with(r##","$ref":"#/$defs/A""##), Additional::Open),
        (with(r#","anyOf":[]"#), Additional::Open),
        (with(r#","allOf":[]"#), Additional::Open),
        (with(r#","oneOf":[]"#), Additional::Open),
        (with(r#","not":{}"#), Additional::Open),
        (with(r#","if":{}"#), Additional::Open),
        (with(r#","dependentSchemas":{}"#), Additional::Open),
        (
            with(r#","additionalProperties":false,"allOf":[]"#),
            Additional::Open,
        ),
        (r#"{"type":"object"}"#.to_owned(), Additional::Open),
        (
            r#"{"type":"object","additionalProperties":false}"#.to_owned(),
            Additional::Closed,
        ),
        ("true".to_owned(), Additional::Open),
    ] {
        assert_eq!(read(&schema).additional(), said, "{schema}");
    }
}

#[test]
fn headers_are_declared_where_properties_lead_and_nowhere_else() {
    let header = r#"{"type":"string","x-mcp-header":"Region"}"#;
    let paths = |schema: &str| -> Option<Vec<String>> {
        let schema = read(schema);
        let mirrors = schema.mirrors().ok()?;
        Some(mirrors.iter().map(|mirror| mirror.path.join(".")).collect())
    };
    assert_eq!(paths(PATH), Some(Vec::new()));
    assert_eq!(
        paths(&format!(r#"{{"properties":{{"a":{header}}}}}"#)),
        Some(vec!["a".to_owned()])
    );
    for schema in [
        format!(r#"{{"properties":{{"a":{{"items":{header}}}}}}}"#),
        format!(r#"{{"properties":{{"a":{{"anyOf":[{header}]}}}}}}"#),
        format!(r#"{{"additionalProperties":{header}}}"#),
        format!(r#"{{"allOf":[{{"properties":{{"a":{header}}}}}]}}"#),
        format!(r##"{{"$defs":{{"D":{header}}},"properties":{{"a":{{"$ref":"#/$defs/D"}}}}}}"##),
    ] {
        assert_eq!(paths(&schema), None, "{schema}");
    }
}

#[test]
fn schemas_that_would_cost_too_much_are_refused_and_circles_end() {
    let many: Vec<String> = (0..20_000).map(|at| format!(r#""p{at}":{{}}"#)).collect();
    let wide = format!(r#"{{"properties":{{{}}}}}"#, many.join(","));
    assert_eq!(InputSchema::read(Some(json(&wide))), Err(TooLarge));
    // Each of many objects joins all the names of one.
    let names: Vec<String> = (0..5_000).map(|at| format!(r#""p{at}":true"#)).collect();
    let joins: Vec<String> = (0..100)
        .map(|at| format!(r##""j{at}":{{"$ref":"#/$defs/D"}}"##))
        .collect();
    let multiplied = format!(
        r#"{{"$defs":{{"D":{{"properties":{{{}}}}}}},"properties":{{{}}}}}"#,
        names.join(","),
        joins.join(",")
    );
    assert_eq!(InputSchema::read(Some(json(&multiplied))), Err(TooLarge));
    let circle = r##"{"$ref":"#/$defs/A","$defs":{"A":{"$ref":"#/$defs/B"},"B":{"allOf":[{"$ref":"#/$defs/A"},{"$ref":"#"}],"properties":{"path":{}}}}}"##;
    assert_eq!(check(circle, r#"{"PATH":1}"#), Err("path".to_owned()));
}
