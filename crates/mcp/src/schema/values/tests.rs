//! Tests of `values`: tables, and the crate `jsonschema` as an oracle.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Unusable, ValueFault, ValueRules};
use crate::json::{Limits, Raw, parse};
use crate::steps;

fn raw(text: &str) -> Raw<'_> {
    parse(text.as_bytes(), &Limits::reply()).expect("legal")
}

fn read(schema: &str) -> Result<ValueRules, Unusable> {
    ValueRules::read(Some(raw(schema)))
}

/// `ok`, or the fault as a person reads it.
fn check(schema: &str, arguments: &str) -> String {
    match read(schema).map(|rules| rules.check(raw(arguments))) {
        Ok(Ok(())) => "ok".to_owned(),
        Ok(Err(fault)) => fault.to_string(),
        Err(unusable) => unusable.to_string(),
    }
}

/// Schema, arguments, and the verdict.
const TABLE: &[(&str, &str, &str)] = &[
    (
        r#"{"type":"object","required":["path"]}"#,
        r#"{}"#,
        "`/path` is missing (`required`)",
    ),
    (
        r#"{"properties":{"n":{"type":"integer"}}}"#,
        r#"{"n":1.0}"#,
        "ok",
    ),
    (
        r#"{"properties":{"n":{"type":"integer"}}}"#,
        r#"{"n":"1"}"#,
        "`/n` violates `type`",
    ),
    (
        r#"{"properties":{"n":{"type":["string","null"]}}}"#,
        r#"{"n":null}"#,
        "ok",
    ),
    (
        r#"{"properties":{"n":{"enum":["a",1,{"x":[2.50]}]}}}"#,
        r#"{"n":{"x":[25e-1]}}"#,
        "ok",
    ),
    (
        r#"{"properties":{"n":{"enum":["a",1]}}}"#,
        r#"{"n":"1"}"#,
        "`/n` violates `enum`",
    ),
    (
        r#"{"properties":{"n":{"const":null}}}"#,
        r#"{"n":false}"#,
        "`/n` violates `const`",
    ),
    (
        r#"{"properties":{"n":{"maximum":9007199254740992}}}"#,
        r#"{"n":9007199254740993}"#,
        "`/n` violates `maximum`",
    ),
    (
        r#"{"properties":{"n":{"exclusiveMinimum":0}}}"#,
        r#"{"n":0}"#,
        "`/n` violates `exclusiveMinimum`",
    ),
    (
        r#"{"properties":{"n":{"minimum":-1.5}}}"#,
        r#"{"n":-15e-1}"#,
        "ok",
    ),
    (
        r#"{"properties":{"n":{"maximum":1}}}"#,
        r#"{"n":1E400}"#,
        "`/n` violates `maximum`",
    ),
    (
        r#"{"properties":{"n":{"multipleOf":0.01}}}"#,
        r#"{"n":19.99}"#,
        "ok",
    ),
    (
        r#"{"properties":{"n":{"multipleOf":0.01}}}"#,
        r#"{"n":0.075}"#,
        "`/n` violates `multipleOf`",
    ),
    (
        r#"{"properties":{"n":{"multipleOf":3}}}"#,
        r#"{"n":300000000000000000000000000000003}"#,
        "ok",
    ),
    (
        r#"{"properties":{"s":{"maxLength":2}}}"#,
        r#"{"s":"\ud83d\ude00é"}"#,
        "ok",
    ),
    (
        r#"{"properties":{"s":{"minLength":3}}}"#,
        r#"{"s":"ab"}"#,
        "`/s` violates `minLength`",
    ),
    (
        r#"{"properties":{"s":{"pattern":"^\\d+$"}}}"#,
        r#"{"s":"٣"}"#,
        "`/s` violates `pattern`",
    ),
    (
        r#"{"properties":{"s":{"pattern":"^[a-z]+$"}}}"#,
        "{\"s\":\"ab\\n\"}",
        "`/s` violates `pattern`",
    ),
    (
        r#"{"properties":{"s":{"pattern":"b"}}}"#,
        r#"{"s":"abc"}"#,
        "ok",
    ),
    (
        r#"{"properties":{"s":{"pattern":"^.{1,500}$"}}}"#,
        r#"{"s":"x"}"#,
        "ok",
    ),
    (
        r#"{"properties":{"a":{"uniqueItems":true}}}"#,
        r#"{"a":[1,"1",1.0]}"#,
        "`/a` violates `uniqueItems`",
    ),
    (
        r#"{"properties":{"a":{"maxItems":1}}}"#,
        r#"{"a":[1,2]}"#,
        "`/a` violates `maxItems`",
    ),
    (
        r#"{"properties":{"a":{"items":{"type":"string"}}}}"#,
        r#"{"a":["x",2]}"#,
        "`/a/1` violates `type`",
    ),
    (
        r#"{"properties":{"a":{"prefixItems":[{"type":"string"}],"items":false}}}"#,
        r#"{"a":["x",2]}"#,
        "`/a/1` is not allowed by the schema",
    ),
    (
        r#"{"properties":{"a":{"items":[{"type":"string"}],"additionalItems":{"type":"null"}}}}"#,
        r#"{"a":["x",2]}"#,
        "`/a/1` violates `type`",
    ),
    (
        r#"{"properties":{"a":{"contains":{"const":1},"maxContains":1}}}"#,
        r#"{"a":[1,1]}"#,
        "`/a` violates `contains`",
    ),
    (
        r#"{"properties":{"a":{}},"additionalProperties":{"type":"number"}}"#,
        r#"{"a":"x","b":"y"}"#,
        "`/b` violates `type`",
    ),
    (
        r#"{"patternProperties":{"^x-":{"type":"string"}},"additionalProperties":false}"#,
        r#"{"x-a":"1","y":2}"#,
        "`/y` is not allowed by the schema",
    ),
    (
        r#"{"propertyNames":{"maxLength":2}}"#,
        r#"{"abc":1}"#,
        "`/abc` violates `maxLength`",
    ),
    (
        r#"{"maxProperties":1}"#,
        r#"{"a":1,"b":2}"#,
        "the arguments violate `maxProperties`",
    ),
    (
        r#"{"dependentRequired":{"a":["b"]}}"#,
        r#"{"a":1}"#,
        "`/b` is missing (`dependentRequired`)",
    ),
    (
        r#"{"dependencies":{"a":["b"]}}"#,
        r#"{"a":1}"#,
        "`/b` is missing (`dependentRequired`)",
    ),
    (
        r#"{"dependentSchemas":{"a":{"required":["b"]}}}"#,
        r#"{"a":1}"#,
        "`/b` is missing (`required`)",
    ),
    (
        r#"{"anyOf":[{"required":["a"]},{"required":["b"]}]}"#,
        r#"{"c":1}"#,
        "the arguments violate `anyOf`",
    ),
    (
        r#"{"oneOf":[{"required":["a"]},{"required":["b"]}]}"#,
        r#"{"a":1,"b":1}"#,
        "the arguments violate `oneOf`",
    ),
    (
        r#"{"allOf":[{"required":["a"]},{"required":["b"]}]}"#,
        r#"{"a":1}"#,
        "`/b` is missing (`required`)",
    ),
    (
        r#"{"not":{"required":["a"]}}"#,
        r#"{"a":1}"#,
        "the arguments violate `not`",
    ),
    (
        r#"{"if":{"required":["a"]},"then":{"required":["b"]},"else":{"required":["c"]}}"#,
        r#"{"a":1,"c":1}"#,
        "`/b` is missing (`required`)",
    ),
    (
        r##"{"properties":{"t":{"$ref":"#/$defs/tree"}},"$defs":{"tree":{"properties":{"n":{"type":"number"},"k":{"items":{"$ref":"#/$defs/tree"}}}}}}"##,
        r#"{"t":{"n":1,"k":[{"n":2,"k":[{"n":"x"}]}]}}"#,
        "`/t/k/0/k/0/n` violates `type`",
    ),
    (
        r#"{"properties":{"a/b":{"type":"null"}}}"#,
        r#"{"a/b":1}"#,
        "`/a~1b` violates `type`",
    ),
    (
        r#"{"properties":{"d":{"format":"date","title":"x","default":1}}}"#,
        r#"{"d":"no"}"#,
        "ok",
    ),
];

#[test]
fn each_keyword_admits_and_refuses() {
    for (schema, arguments, expected) in TABLE {
        assert_eq!(&check(schema, arguments), expected, "{schema} {arguments}");
    }
}

#[test]
fn what_cannot_be_evaluated_makes_the_schema_unusable() {
    for (schema, keyword) in [
        (r##"{"$dynamicRef":"#x"}"##, "$dynamicRef"),
        (
            r#"{"unevaluatedProperties":false}"#,
            "unevaluatedProperties",
        ),
        (r#"{"$ref":"https://elsewhere.example/schema"}"#, "$ref"),
        (r##"{"$ref":"#anchor"}"##, "$ref"),
        (r#"{"properties":{"a":{"$id":"x"}}}"#, "$id"),
        (r#"{"properties":{"a":{"pattern":"(?=x)"}}}"#, "pattern"),
        (r#"{"properties":{"a":{"pattern":"(a)\\1"}}}"#, "pattern"),
        (
            r#"{"properties":{"a":{"pattern":"((a{1,500}){1,500}){1,500}"}}}"#,
            "pattern",
        ),
        (
            r#"{"properties":{"a":{"minimum":1,"exclusiveMinimum":true}}}"#,
            "exclusiveMinimum",
        ),
        (r#"{"properties":{"a":{"type":"text"}}}"#, "type"),
        (r#"{"properties":{"a":{"minLength":-1}}}"#, "minLength"),
        (r#"{"properties":{"a":{"required":true}}}"#, "required"),
        (r#"{"properties":[]}"#, "properties"),
        (r#"{"properties":{"a":{"multipleOf":0}}}"#, "multipleOf"),
        (r#"{"properties":{"a":null}}"#, "inputSchema"),
    ] {
        assert_eq!(
            read(schema).map_err(|fault| fault.keyword).err(),
            Some(keyword),
            "{schema}"
        );
    }
}

/// Definitions that apply `leaf` 2^39 times.
fn chain(leaf: &str) -> String {
    let steps: String = (1..40)
        .map(|at| {
            let below = at - 1;
            format!(
                r##""d{at}":{{"allOf":[{{"$ref":"#/$defs/d{below}"}},{{"$ref":"#/$defs/d{below}"}}]}},"##
            )
        })
        .collect();
    format!(r##""$defs":{{{steps}"d0":{leaf}}}"##)
}

/// Schemas made to cost: each is refused after no more steps than arguments of their size are worth.
#[test]
fn no_schema_costs_more_than_its_arguments_are_worth() {
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    let circle = r##"{"$ref":"#"}"##.to_owned();
    let branches = r##"{"anyOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/b"}],"$defs":{"b":{"allOf":[{"properties":{"a":{"$ref":"#"}}},{"required":["z"]}]}}}"##.to_owned();
    let doubled = format!(r##"{{"$ref":"#/$defs/d39",{}}}"##, chain("{}"));
    // Each look at an array is one over all its text, each look at a member one over its name.
    let walks = format!(
        r##"{{"properties":{{"a":{{"$ref":"#/$defs/d39"}}}},{}}}"##,
        chain(r#"{"items":{"type":["array","string"]}}"#)
    );
    let keys = format!(
        r##"{{"additionalProperties":{{"$ref":"#/$defs/d39"}},{}}}"##,
        chain(r#"{"not":{"not":true}}"#)
    );
    let pattern = r#"{"additionalProperties":{"pattern":"(x+x+)+y"}}"#.to_owned();
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(200_000));
    let costly = Err(ValueFault::TooCostly);
    let violated = Err(ValueFault::Violated {
        pointer: "/a".into(),
        keyword: "pattern",
    });
    for (schema, arguments, expected) in [
        (circle, "{}".to_owned(), &costly),
        (branches, nested(60), &costly),
        (doubled, "{}".to_owned(), &costly),
        (pattern, long, &violated),
        (
            walks.clone(),
            format!(r#"{{"a":[[{}1]]}}"#, "1,".repeat(10_000)),
            &costly,
        ),
        (
            walks.clone(),
            format!(r#"{{"a":["{}"]}}"#, "x".repeat(20_000)),
            &costly,
        ),
        (
            walks,
            format!(r#"{{"a":[["{}"]]}}"#, "\\n".repeat(200_000)),
            &costly,
        ),
        (keys, format!(r#"{{"{}":1}}"#, "k".repeat(200_000)), &costly),
    ] {
        let rules = read(&schema).expect("readable");
        let (arguments, mut verdict) = (raw(&arguments), Ok(()));
        let taken = steps::of(|| verdict = rules.check(arguments));
        assert_eq!(&verdict, expected, "{schema}");
        // What is charged, and what reading takes besides.
        let worth = 2 * (8 * arguments.as_bytes().len() + 100_000);
        assert!(taken <= worth as u64, "{taken} steps: {schema}");
    }
}

/// A chain of references is read by a loop, not by a recursion.
#[test]
fn a_long_chain_of_references_is_read() {
    let chain: String = (0..9_000)
        .map(|at| format!(r##""d{at}":{{"$ref":"#/$defs/d{}"}},"##, at + 1))
        .collect();
    let schema = format!(r##"{{"$ref":"#/$defs/d0","$defs":{{{chain}"d9000":{{}}}}}}"##);
    assert_eq!(check(&schema, "{}"), "validation takes too many steps");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-4_i64..5).prop_map(Value::from),
        Just(json!(1.5)),
        "[ab1]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A schema; `refers` is whether there are references in it.
fn schema(refers: bool) -> impl Strategy<Value = Value> {
    let reference = if refers {
        json!({"$ref": "#/$defs/d"})
    } else {
        json!({})
    };
    let kind = prop_oneof![
        Just("null"),
        Just("boolean"),
        Just("string"),
        Just("array"),
        Just("object"),
        Just("number"),
        Just("integer"),
    ];
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        kind.prop_map(|kind| json!({"type": kind})),
        prop::collection::vec(value(), 1..4).prop_map(|values| json!({"enum": values})),
        value().prop_map(|value| json!({"const": value})),
        (-3_i64..4).prop_map(|bound| json!({"minimum": bound, "exclusiveMaximum": bound + 3})),
        (1_i64..4).prop_map(|unit| json!({"multipleOf": unit})),
        (0_u64..3).prop_map(
            |least| json!({"minLength": least, "maxItems": least, "minProperties": least})
        ),
        "[ab]{1,2}".prop_map(|text| json!({"pattern": format!("^{text}+$")})),
        Just(json!({"uniqueItems": true})),
        Just(json!({"required": ["a"]})),
        Just(json!({"dependentRequired": {"a": ["b"]}})),
        Just(reference),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            some().prop_map(|all| json!({"allOf": all})),
            some().prop_map(|any| json!({"anyOf": any})),
            some().prop_map(|one| json!({"oneOf": one})),
            inner.clone().prop_map(|not| json!({"not": not})),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| json!({"properties": {"a": a}, "patternProperties": {"b": b}, "additionalProperties": c})),
            (some(), inner.clone()).prop_map(|(first, others)| json!({"prefixItems": first, "items": others})),
            inner.clone().prop_map(|one| json!({"contains": one, "minContains": 0, "maxContains": 2})),
            inner.clone().prop_map(|one| json!({"dependentSchemas": {"a": one}})),
            inner.clone().prop_map(|one| json!({"propertyNames": one})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    // References in the definition itself could lead in circles, which the other one may not survive.
    fn verdicts_agree_with_another_validator(schema in schema(true), inner in schema(false), value in value()) {
        let whole = json!({"allOf": [schema], "$defs": {"d": inner}});
        let theirs = jsonschema::draft202012::new(&whole).expect("a schema").is_valid(&value);
        let ours = check(&whole.to_string(), &value.to_string());
        prop_assert_eq!(ours == "ok", theirs, "{} {}: {}", whole, value, ours);
    }
}
