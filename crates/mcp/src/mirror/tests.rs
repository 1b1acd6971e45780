//! Tests of `mirror`.

use super::{InvalidMirror, Mirror, declared};
use crate::json::{Limits, Raw, parse};

fn json(text: &str) -> Raw<'_> {
    parse(text.as_bytes(), &Limits::request()).expect("legal")
}

fn mirror(path: &[&str]) -> Mirror {
    Mirror {
        header: "mcp-param-x".into(),
        path: path.iter().map(|step| (*step).into()).collect(),
    }
}

#[test]
fn a_line_agrees_if_it_says_what_the_argument_says() {
    for (arguments, line, agrees) in [
        (r#"{"a":"eu"}"#, Some("eu"), true),
        (r#"{"a":"eu"}"#, Some("us"), false),
        (r#"{"a":"eu"}"#, Some("EU"), false),
        (r#"{"a":"eu"}"#, None, false),
        (r#"{}"#, Some("eu"), false),
        (r#"{}"#, None, true),
        (r#"{"a":null}"#, None, true),
        (r#"{"a":null}"#, Some("null"), false),
        (r#"{"a":""}"#, Some(""), true),
        (r#"{"a":""}"#, Some("=?base64??="), true),
        // The base64 form, exactly.
        (r#"{"a":"grün"}"#, Some("=?base64?Z3LDvG4=?="), true),
        (r#"{"a":"grün"}"#, Some("gr\u{fc}n"), false),
        (r#"{"a":"grün"}"#, Some("=?base64?Z3LDvG4?="), false),
        (r#"{"a":"=?base64?ZXU=?="}"#, Some("=?base64?ZXU=?="), false),
        (r#"{"a":"eu"}"#, Some("=?BASE64?ZXU=?="), false),
        // Numbers by value.
        (r#"{"a":42}"#, Some("42"), true),
        (r#"{"a":42}"#, Some("42.0"), true),
        (r#"{"a":42.00}"#, Some("4.2e1"), true),
        (r#"{"a":-0}"#, Some("0"), true),
        (r#"{"a":9007199254740993}"#, Some("9007199254740992"), false),
        (r#"{"a":42}"#, Some("042"), true),
        (r#"{"a":42}"#, Some("+42"), false),
        (r#"{"a":42}"#, Some("0x2a"), false),
        (r#"{"a":42}"#, Some("42 43"), false),
        (r#"{"a":"42"}"#, Some("42.0"), false),
        (r#"{"a":true}"#, Some("true"), true),
        (r#"{"a":true}"#, Some("True"), false),
        (r#"{"a":true}"#, Some("1"), false),
        // What no line can hold.
        (r#"{"a":["eu"]}"#, Some("eu"), false),
        (r#"{"a":{"b":1}}"#, None, false),
    ] {
        let line = line.map(str::as_bytes);
        assert_eq!(
            mirror(&["a"]).agrees(line, json(arguments)),
            agrees,
            "{arguments} {line:?}"
        );
    }
    assert!(mirror(&["a", "b"]).agrees(Some(b"1"), json(r#"{"a":{"b":1}}"#)));
    assert!(mirror(&["a", "b"]).agrees(None, json(r#"{"a":1}"#)));
}

#[test]
fn a_line_of_ours_agrees_with_what_it_was_made_of() {
    for text in [
        r#"{"a":"x"}"#,
        r#"{"a":" x"}"#,
        r#"{"a":"=?base64?eA==?="}"#,
        r#"{"a":""}"#,
        r#"{"a":1.50}"#,
        r#"{"a":false}"#,
        r#"{"a":"\u0000"}"#,
    ] {
        let (mirror, arguments) = (mirror(&["a"]), json(text));
        let line = mirror.line(arguments).expect("a line");
        assert!(
            mirror.agrees(Some(line.as_bytes()), arguments),
            "{text}: {line}"
        );
    }
    assert_eq!(mirror(&["a"]).line(json(r#"{"a":null}"#)), None);
}

#[test]
fn declarations_are_read_or_refused() {
    let path = |text: &str| -> Result<Vec<String>, InvalidMirror> {
        let found = declared(json(text))?;
        Ok(found
            .iter()
            .map(|mirror| format!("{}={}", mirror.header, mirror.path.join(".")))
            .collect())
    };
    let property = |schema: &str| format!(r#"{{"properties":{{"a":{schema}}}}}"#);
    for kind in [
        r#""string""#,
        r#""integer""#,
        r#""number""#,
        r#""boolean""#,
        r#"["string","null"]"#,
    ] {
        let schema = property(&format!(r#"{{"type":{kind},"x-mcp-header":"Region"}}"#));
        assert_eq!(
            path(&schema),
            Ok(vec!["mcp-param-region=a".to_owned()]),
            "{schema}"
        );
    }
    let nested =
        property(r#"{"type":"object","properties":{"b":{"type":"string","x-mcp-header":"B"}}}"#);
    assert_eq!(path(&nested), Ok(vec!["mcp-param-b=a.b".to_owned()]));
    for bad in [
        r#"{"type":"string","x-mcp-header":""}"#,
        r#"{"type":"string","x-mcp-header":"a b"}"#,
        r#"{"type":"string","x-mcp-header":"a:b"}"#,
        r#"{"type":"string","x-mcp-header":"a\r\nb"}"#,
        r#"{"type":"string","x-mcp-header":"é"}"#,
        r#"{"type":"string","x-mcp-header":7}"#,
        r#"{"type":"object","x-mcp-header":"A"}"#,
        r#"{"type":["string","object"],"x-mcp-header":"A"}"#,
        r#"{"x-mcp-header":"A"}"#,
    ] {
        assert_eq!(path(&property(bad)), Err(InvalidMirror), "{bad}");
    }
    let twice = r#"{"properties":{"a":{"type":"string","x-mcp-header":"X"},"b":{"type":"string","x-mcp-header":"x"}}}"#;
    assert_eq!(path(twice), Err(InvalidMirror));
    assert_eq!(
        path(r#"{"type":"string","x-mcp-header":"Root"}"#),
        Err(InvalidMirror)
    );
}
