//! Masking by rules, by default, and what is refused.

use regorus::Value;

use super::{Changed, MaskError, apply, erase_content, mask_secrets};
use crate::json;

fn value(text: &str) -> Value {
    json::parse(text).unwrap()
}

fn masked(event: &str, answer: &str) -> Result<(String, Changed), MaskError> {
    let (mut event, mut changed) = (value(event), Changed::default());
    apply(&mut event, &value(answer), &mut changed)?;
    Ok((serde_json::to_string(&event).unwrap(), changed))
}

#[test]
fn pointers_erase_and_operations_replace() {
    let event =
        r#"{"input":{"arguments":{"a/b":1,"list":[1,2]},"x":"y"},"result":{"effect":"deny"}}"#;
    for (answer, expected, erased, masked_at) in [
        (
            r#"["/input/arguments"]"#,
            r#"{"input":{"x":"y"},"result":{"effect":"deny"}}"#,
            "/input/arguments",
            "",
        ),
        (
            r#"["/input/arguments/a~1b", "/input/nothing/there"]"#,
            r#"{"input":{"arguments":{"list":[1,2]},"x":"y"},"result":{"effect":"deny"}}"#,
            "/input/arguments/a~1b",
            "",
        ),
        (
            r#"[{"op":"remove","path":"/input/arguments/list/0"}]"#,
            r#"{"input":{"arguments":{"a/b":1,"list":[null,2]},"x":"y"},"result":{"effect":"deny"}}"#,
            "/input/arguments/list/0",
            "",
        ),
        (
            r#"[{"op":"upsert","path":"/input/x","value":"**"}]"#,
            r#"{"input":{"arguments":{"a/b":1,"list":[1,2]},"x":"**"},"result":{"effect":"deny"}}"#,
            "",
            "/input/x",
        ),
        (
            r#"[{"op":"upsert","path":"/result/new/deep","value":7}]"#,
            r#"{"input":{"arguments":{"a/b":1,"list":[1,2]},"x":"y"},"result":{"effect":"deny","new":{"deep":7}}}"#,
            "",
            "/result/new/deep",
        ),
        (
            r#"["/input"]"#,
            r#"{"result":{"effect":"deny"}}"#,
            "/input",
            "",
        ),
    ] {
        let (text, changed) = masked(event, answer).unwrap();
        assert_eq!(text, expected, "{answer}");
        assert_eq!(changed.erased.join(" "), erased, "{answer}");
        assert_eq!(changed.masked.join(" "), masked_at, "{answer}");
    }
}

#[test]
fn other_forms_and_other_places_are_errors() {
    let event = r#"{"input":{},"labels":{"id":"x"}}"#;
    for (answer, error) in [
        (r#""/input""#, MaskError::NoSet),
        (r#"{"op":"remove"}"#, MaskError::NoSet),
        ("[7]", MaskError::Entry),
        (r#"[{"op":"remove"}]"#, MaskError::Entry),
        (
            r#"[{"op":"remove","path":"/input/a","why":"x"}]"#,
            MaskError::Entry,
        ),
        (r#"[{"op":"upsert","path":"/input/a"}]"#, MaskError::Entry),
        (
            r#"[{"op":"replace","path":"/input/a","value":1}]"#,
            MaskError::Entry,
        ),
        (r#"["input"]"#, MaskError::Place("input".into())),
        (r#"["/labels/id"]"#, MaskError::Place("/labels/id".into())),
        (r#"["/"]"#, MaskError::Place("/".into())),
        (r#"[""]"#, MaskError::Place(String::new())),
    ] {
        assert_eq!(masked(event, answer).unwrap_err(), error, "{answer}");
    }
}

#[test]
fn content_is_erased_and_secrets_in_it_are_masked() {
    let text = r#"{"input":{"arguments":{"apiKey":"k","max_tokens":5,"note":"see Bearer abcdefghijklmnop","plain":"x",
        "nested":[{"client_secret":{"a":1}}]},"caller":{"claims":{"access_token":"t"}},"params":{},"session":{"id":"s"}}}"#;
    let (mut event, mut changed) = (value(text), Changed::default());
    mask_secrets(&mut event, &mut changed);
    changed.masked.sort();
    assert_eq!(
        changed.masked,
        [
            "/input/arguments/apiKey",
            "/input/arguments/nested/0/client_secret",
            "/input/arguments/note",
            "/input/caller/claims/access_token",
        ]
    );
    let shown = serde_json::to_string(&event).unwrap();
    assert!(
        shown.contains(r#""max_tokens":5"#) && shown.contains(r#""plain":"x""#),
        "{shown}"
    );
    assert!(!shown.contains("abcdefghijklmnop"), "{shown}");

    let mut changed = Changed::default();
    erase_content(&mut event, &mut changed);
    assert_eq!(changed.erased, ["/input/arguments", "/input/params"]);
    assert!(
        !serde_json::to_string(&event)
            .unwrap()
            .contains("max_tokens")
    );
}
