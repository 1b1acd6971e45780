//! Reading JSON: beside serde_json, and where it must differ.

use proptest::prelude::*;

use super::*;

fn error(text: &str) -> &'static str {
    parse(text).unwrap_err().reason
}

#[test]
fn integers_stay_exact() {
    for text in [
        "0",
        "-1",
        "9007199254740993",
        "18446744073709551615",
        "-9223372036854775808",
        "18446744073709551617",
        "340282366920938463463374607431768211457",
        "-123456789012345678901234567890",
    ] {
        let value = parse(text).unwrap();
        assert_eq!(value, Value::from_numeric_string(text).unwrap(), "{text}");
        assert_ne!(
            value,
            Value::from_numeric_string(&format!("{text}1")).unwrap(),
            "{text}"
        );
    }
    let one = parse("18446744073709551616").unwrap();
    assert_ne!(one, parse("18446744073709551617").unwrap());
    assert_eq!(
        one,
        Value::from_numeric_string("18446744073709551616").unwrap()
    );
    assert_eq!(
        parse("1e23").unwrap(),
        Value::from_numeric_string("100000000000000000000000").unwrap()
    );
    assert_eq!(parse("1.0").unwrap(), Value::from(1_u64));
    assert_eq!(parse("-0").unwrap(), Value::from(0_u64));
}

#[test]
fn numbers_that_cannot_be_judged_are_refused() {
    assert_eq!(error("1e999"), "number out of range");
    assert_eq!(error("1e2147483647"), "number out of range");
    assert_eq!(error("1e-400"), "number out of range");
    assert_eq!(
        error("100.00000000000000001"),
        "decimal with more than 17 digits"
    );
    assert_eq!(error(&"9".repeat(401)), "number too long");
    assert!(parse("0.30000000000000004").is_ok());
    assert!(parse("0e99999").is_ok());
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        " ",
        "{",
        "[",
        "[1",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "+1",
        ".5",
        "1.",
        "1e",
        "-",
        "nul",
        "tru",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\u{1}\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "1 2",
        "{} {}",
        "\u{feff}1",
        "\"\\u+123\"",
        "NaN",
        "Infinity",
        "[1}",
        "{\"a\" 1}",
        "'a'",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
    assert_eq!(error(r#"{"a": 1, "\u0061": 2}"#), "duplicate key");
    assert_eq!(error(&"[".repeat(100)), "nested too deep");
    assert!(parse(&format!("{}{}", "[".repeat(64), "]".repeat(64))).is_ok());
}

#[test]
fn strings_are_unescaped() {
    let value = parse(r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀""#).unwrap();
    assert_eq!(
        &**value.as_string().unwrap(),
        "a\"\\/\u{8}\u{c}\n\r\té😀é😀"
    );
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        // Without those that are written with an exponent: there this reader is exact and the general one is not.
        (-1.0e9..1.0e9_f64).prop_map(serde_json::Value::from),
        ".*".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::hash_map(".*", inner, 0..6).prop_map(|members| members
                .into_iter()
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What serde_json writes is read as the evaluator's own reader would, numbers within 64 bits included.
    #[test]
    fn agrees_with_the_general_reader(value in json()) {
        let text = value.to_string();
        prop_assert_eq!(parse(&text).unwrap(), Value::from_json_str(&text).unwrap());
    }

    /// Anything at all is an answer or an error, and what is accepted serde_json accepts too.
    #[test]
    fn accepts_nothing_that_is_not_json(text in "[\\[\\]{}:,\"\\\\a-fu0-9eE+. -]{0,40}") {
        if parse(&text).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        }
    }
}
