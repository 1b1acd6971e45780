//! Tests of the mirrored headers.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{Mirrored, decode_value, encode_value};

fn check(lines: &[(&str, &[u8])], expected: &Expect) {
    let read = Mirrored::read(lines.iter().copied());
    let shown = match read {
        Ok(headers) => format!("{headers:?}"),
        Err(error) => format!("refused: {error}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn reads_each_header_once() {
    check(
        &[
            ("host", b"gw.example"),
            ("mcp-protocol-version", b"2026-07-28"),
            ("mcp-method", b"tools/call"),
            ("mcp-name", b"  get_weather\t"),
            ("mcp-session-id", b"abc"),
            ("last-event-id", b"7 of 9"),
            ("mcp-param-region", b"\xff"),
        ],
        &expect![[
            r#"Mirrored { protocol_version: Some("2026-07-28"), method: Some("tools/call"), name: Some("get_weather"), session_id: Some("abc"), last_event_id: Some("7 of 9") }"#
        ]],
    );
}

#[test]
fn trap_02_duplicate_header_lines_are_refused() {
    let twice = |name: &'static str| [(name, b"a".as_slice()), ("x", b"1"), (name, b"a")];
    check(
        &twice("mcp-method"),
        &expect!["refused: header appears twice: `mcp-method`"],
    );
    check(
        &twice("mcp-name"),
        &expect!["refused: header appears twice: `mcp-name`"],
    );
    check(
        &twice("mcp-protocol-version"),
        &expect!["refused: header appears twice: `mcp-protocol-version`"],
    );
    check(
        &twice("mcp-session-id"),
        &expect!["refused: header appears twice: `mcp-session-id`"],
    );
    check(
        &twice("last-event-id"),
        &expect!["refused: header appears twice: `last-event-id`"],
    );
    check(
        &twice("mcp-param-x"),
        &expect!["refused: header appears twice: `mcp-param-x`"],
    );
}

#[test]
fn invalid_characters_are_refused() {
    check(
        &[("mcp-name", b"a\x00b")],
        &expect!["refused: header value is invalid: `mcp-name`"],
    );
    check(
        &[("mcp-name", b"\xc3\xa9")],
        &expect!["refused: header value is invalid: `mcp-name`"],
    );
    check(
        &[("mcp-name", b"")],
        &expect!["refused: header value is invalid: `mcp-name`"],
    );
    check(
        &[("mcp-session-id", b"a b")],
        &expect!["refused: header value is invalid: `mcp-session-id`"],
    );
    check(
        &[("mcp-method", b"tools/ call")],
        &expect!["refused: header value is invalid: `mcp-method`"],
    );
}

#[test]
fn trap_02_base64_form_is_decoded_exactly() {
    let cases = [
        ("us-west1", Some("us-west1")),
        ("=?base64?SGVsbG8sIOS4lueVjA==?=", Some("Hello, 世界")),
        (
            "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=",
            Some("=?base64?literal?="),
        ),
        ("=?base64??=", Some("")),
        // Wrong padding, foreign characters, stray bits, not UTF-8.
        ("=?base64?SGVsbG8?=", None),
        ("=?base64?SGVs!!!bG8=?=", None),
        ("=?base64?SGVsbG9=?=", None),
        ("=?base64?/w==?=", None),
        // Not the form.
        ("SGVsbG8=", Some("SGVsbG8=")),
        ("=?base64?SGVsbG8=", Some("=?base64?SGVsbG8=")),
        ("=?BASE64?SGVsbG8=?=", Some("=?BASE64?SGVsbG8=?=")),
        ("=?base64?=", Some("=?base64?=")),
    ];
    for (header, body) in cases {
        assert_eq!(decode_value(header).as_deref(), body, "{header}");
    }
    check(
        &[("mcp-name", b"=?base64?SGVsbG8?=")],
        &expect!["refused: header value is invalid: `mcp-name`"],
    );
}

#[test]
fn values_that_could_be_misread_are_encoded() {
    assert_eq!(encode_value("get_weather"), "get_weather");
    assert_eq!(encode_value(" padded "), "=?base64?IHBhZGRlZCA=?=");
    assert_eq!(encode_value("line1\nline2"), "=?base64?bGluZTEKbGluZTI=?=");
    assert_eq!(
        encode_value("=?base64?literal?="),
        "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="
    );
}

proptest! {
    #[test]
    fn any_text_survives_the_header(text in ".*") {
        let header = encode_value(&text).into_owned();
        let read = Mirrored::read([("mcp-name", header.as_bytes())]).expect("our own form is legal");
        prop_assert_eq!(read.name.as_deref(), Some(text.as_str()));
    }
}
