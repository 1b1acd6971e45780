//! Tests of the scanner and the raw view.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::key::LOOKS;
use super::{Kind, Limits, MAX_DEPTH, MAX_NUMBER, Raw, parse};

/// One line per text: what the scanner says of it.
fn check<T: AsRef<[u8]>>(texts: &[T], expected: &Expect) {
    let lines: Vec<String> = texts
        .iter()
        .map(|text| {
            let shown = String::from_utf8_lossy(text.as_ref()).replace(char::is_control, "^");
            match parse(text.as_ref(), &Limits::request()) {
                Ok(raw) => format!("{shown:<24} {:?}", raw.kind()),
                Err(error) => format!("{shown:<24} {error}"),
            }
        })
        .collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn values_of_the_grammar_are_accepted() {
    check(
        &[
            "null",
            "true",
            "false",
            "0",
            "-0",
            "-12",
            "1.5",
            "1e9",
            "-1.25E-7",
            "1E+2",
            "\"\"",
            r#""\"\\\/\b\f\n\r\t""#,
            r#""\u0041\ud83d\ude00""#,
            "\"😀\"",
            "[]",
            "[ ]",
            "[1,[2],{}]",
            "{}",
            " { } ",
            "\t[\r\n1 , 2]\n",
            r#"{"a" : 1}"#,
            "\"\u{7f}\u{2028}\"",
        ],
        &expect![[r#"
            null                     Null
            true                     Bool
            false                    Bool
            0                        Number
            -0                       Number
            -12                      Number
            1.5                      Number
            1e9                      Number
            -1.25E-7                 Number
            1E+2                     Number
            ""                       String
            "\"\\\/\b\f\n\r\t"       String
            "\u0041\ud83d\ude00"     String
            "😀"                      String
            []                       Array
            [ ]                      Array
            [1,[2],{}]               Array
            {}                       Object
             { }                     Object
            ^[^^1 , 2]^              Array
            {"a" : 1}                Object
            "^ "                     String"#]],
    );
}

#[test]
fn what_the_grammar_lacks_is_refused() {
    check(
        &[
            "",
            " ",
            "nul",
            "nulll",
            "True",
            "NaN",
            "Infinity",
            "-",
            "01",
            "-01",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "0x10",
            "1_000",
            "'a'",
            "\"a",
            "\"\\",
            r#""\x""#,
            r#""\u12""#,
            r#""\u12g4""#,
            r#""\u+123""#,
        ],
        &expect![[r#"
                                     unexpected end at byte `0`
                                     unexpected end at byte `1`
            nul                      unexpected end at byte `3`
            nulll                    trailing bytes at byte `4`
            True                     unexpected character at byte `0`
            NaN                      unexpected character at byte `0`
            Infinity                 unexpected character at byte `0`
            -                        invalid number at byte `1`
            01                       invalid number at byte `0`
            -01                      invalid number at byte `0`
            1.                       invalid number at byte `2`
            .5                       unexpected character at byte `0`
            1e                       invalid number at byte `2`
            1e+                      invalid number at byte `3`
            +1                       unexpected character at byte `0`
            0x10                     trailing bytes at byte `1`
            1_000                    trailing bytes at byte `1`
            'a'                      unexpected character at byte `0`
            "a                       unexpected end at byte `2`
            "\                       unexpected end at byte `1`
            "\x"                     invalid escape at byte `1`
            "\u12"                   invalid escape at byte `1`
            "\u12g4"                 invalid escape at byte `1`
            "\u+123"                 invalid escape at byte `1`"#]],
    );
}

#[test]
fn broken_structure_is_refused() {
    check(
        &[
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\"1}",
            "{\"a\":1 \"b\":2}",
            "// c\n1",
            "/**/1",
            "[1]]",
            "{}{}",
            "1 2",
        ],
        &expect![[r#"
            [                        unexpected end at byte `1`
            [1                       unexpected end at byte `2`
            [1,                      unexpected end at byte `3`
            [1,]                     unexpected character at byte `3`
            [,1]                     unexpected character at byte `1`
            [1 2]                    unexpected character at byte `3`
            {                        unexpected end at byte `1`
            {"a"                     unexpected end at byte `4`
            {"a":                    unexpected end at byte `5`
            {"a":1                   unexpected end at byte `6`
            {"a":1,                  unexpected end at byte `7`
            {"a":1,}                 unexpected character at byte `7`
            {a:1}                    unexpected character at byte `1`
            {1:1}                    unexpected character at byte `1`
            {"a"1}                   unexpected character at byte `4`
            {"a":1 "b":2}            unexpected character at byte `7`
            // c^1                   unexpected character at byte `0`
            /**/1                    unexpected character at byte `0`
            [1]]                     trailing bytes at byte `3`
            {}{}                     trailing bytes at byte `2`
            1 2                      trailing bytes at byte `2`"#]],
    );
}

#[test]
fn trap_05_invalid_bytes_are_refused() {
    let cases: &[&[u8]] = &[
        b"\"\xff\"",
        b"\"\xc3\x28\"",
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        b"{\"a\xe2\x82\":1}",
        b"\xef\xbb\xbf{}",
        b"\xfe\xff\x00{",
        b"{}\x00",
        b"\"a\x00b\"",
        b"\"a\nb\"",
        b"\"a\x1f\"",
        b"\x0b1",
        b"\xc2\xa01",
    ];
    check(
        cases,
        &expect![[r#"
            "�"                      invalid UTF-8 at byte `1`
            "�("                     invalid UTF-8 at byte `1`
            "��"                     invalid UTF-8 at byte `1`
            "���"                    invalid UTF-8 at byte `1`
            {"a�":1}                 invalid UTF-8 at byte `3`
            ﻿{}                      byte order mark at byte `0`
            ��^{                     invalid UTF-8 at byte `0`
            {}^                      trailing bytes at byte `2`
            "a^b"                    control character in a string at byte `2`
            "a^b"                    control character in a string at byte `2`
            "a^"                     control character in a string at byte `2`
            ^1                       unexpected character at byte `0`
             1                       unexpected character at byte `0`"#]],
    );
}

#[test]
fn trap_05_lone_surrogates_are_refused() {
    check(
        &[
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800\ud800""#,
            r#""\ud800x""#,
            r#""\ud83d\u0041""#,
            r#""\udc00\ud800""#,
            r#"{"\ud800":1}"#,
            r#""\uD83D\uDE00""#,
        ],
        &expect![[r#"
            "\ud800"                 lone surrogate at byte `1`
            "\udc00"                 lone surrogate at byte `1`
            "\ud800\ud800"           lone surrogate at byte `1`
            "\ud800x"                lone surrogate at byte `1`
            "\ud83d\u0041"           lone surrogate at byte `1`
            "\udc00\ud800"           lone surrogate at byte `1`
            {"\ud800":1}             lone surrogate at byte `2`
            "\uD83D\uDE00"           String"#]],
    );
}

#[test]
fn trap_05_trailing_bytes_are_refused() {
    check(
        &["{} {}", "{}x", "[] ,", "1\u{0}", "{}\n\t "],
        &expect![[r#"
            {} {}                    trailing bytes at byte `3`
            {}x                      trailing bytes at byte `2`
            [] ,                     trailing bytes at byte `3`
            1^                       trailing bytes at byte `1`
            {}^^                     Object"#]],
    );
}

#[test]
fn trap_05_depth_bombs_are_refused() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}{}", open.repeat(depth), close.repeat(depth))
    };
    let depth_of = |text: String| parse(text.as_bytes(), &Limits::request()).map(Raw::kind);
    assert_eq!(depth_of(nested("[", "]", 64)), Ok(Kind::Array));
    let error = depth_of(nested("[", "]", 65)).expect_err("one too deep");
    assert_eq!(error.to_string(), "nested too deeply at byte `64`");
    let objects = format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65));
    assert!(depth_of(objects).is_err());
    assert!(depth_of("[".repeat(1 << 20)).is_err());
    // Whatever the caller allows, the scanner does not recurse further than it can bear.
    let boundless = Limits {
        depth: usize::MAX,
        ..Limits::reply()
    };
    assert!(parse("[".repeat(1 << 20).as_bytes(), &boundless).is_err());
    assert!(parse(nested("[", "]", MAX_DEPTH).as_bytes(), &boundless).is_ok());
}

#[test]
fn trap_05_numbers_keep_their_text() {
    for text in [
        "9007199254740993",
        "1.0",
        "1e400",
        "-0.0",
        "123456789012345678901234567890.000100",
    ] {
        let whole = format!("[{text}]");
        let raw = parse(whole.as_bytes(), &Limits::request()).expect("a number");
        assert_eq!(raw.items().next().map(Raw::as_str), Some(text));
    }
    let integer = |text: &'static str| {
        parse(text.as_bytes(), &Limits::request())
            .expect("a number")
            .integer()
    };
    assert_eq!(integer("9007199254740993"), Some(9_007_199_254_740_993));
    assert_eq!(integer("1.0"), None);
    assert_eq!(integer("1e3"), None);
    assert_eq!(integer("9223372036854775808"), None);
    assert!(parse("1".repeat(MAX_NUMBER).as_bytes(), &Limits::request()).is_ok());
    assert!(parse("1".repeat(MAX_NUMBER + 1).as_bytes(), &Limits::request()).is_err());
}

#[test]
fn caps_hold() {
    let limits = Limits {
        bytes: 10,
        depth: 64,
        nodes: 4,
    };
    let fault = |text: &str| {
        parse(text.as_bytes(), &limits)
            .map_err(|error| error.fault.as_str())
            .map(Raw::kind)
    };
    assert_eq!(fault("[1,2,3]"), Ok(Kind::Array));
    assert_eq!(fault("[1,2,3,4]"), Err("too_many_nodes"));
    assert_eq!(fault("          1"), Err("too_large"));
}

#[test]
fn trap_01_duplicate_keys_are_refused() {
    check(
        &[
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"[[{"x":{"a":1,"a":1}}]]"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"\u0061":1,"a":2}"#,
            r#"{"\u0061":1,"\u0061":2}"#,
            r#"{"é":1,"\u00e9":2}"#,
            r#"{"😀":1,"\ud83d\ude00":2}"#,
            r#"{"":1,"":2}"#,
            r#"{"a/b":1,"a\/b":2}"#,
            // Not equal.
            r#"{"a":1,"A":2}"#,
            r#"{"a":{"a":1},"b":{"a":1}}"#,
            r#"{"a":1,"a ":2}"#,
            r#"{"ab":1,"abc":2,"a":3}"#,
            r#"{"é":1,"é":2}"#,
        ],
        &expect![[r#"
            {"a":1,"a":2}            duplicate key at byte `7`
            {"a":1,"b":2,"a":3}      duplicate key at byte `13`
            [[{"x":{"a":1,"a":1}}]]  duplicate key at byte `14`
            {"a":1,"\u0061":2}       duplicate key at byte `7`
            {"\u0061":1,"a":2}       duplicate key at byte `12`
            {"\u0061":1,"\u0061":2}  duplicate key at byte `12`
            {"é":1,"\u00e9":2}       duplicate key at byte `8`
            {"😀":1,"\ud83d\ude00":2} duplicate key at byte `10`
            {"":1,"":2}              duplicate key at byte `6`
            {"a/b":1,"a\/b":2}       duplicate key at byte `9`
            {"a":1,"A":2}            Object
            {"a":{"a":1},"b":{"a":1}} Object
            {"a":1,"a ":2}           Object
            {"ab":1,"abc":2,"a":3}   Object
            {"é":1,"é":2}            duplicate key at byte `8`"#]],
    );
}

#[test]
fn trap_01_duplicate_keys_are_found_in_large_objects() {
    for count in [11_usize, 12, 13, 14, 500, 20_000] {
        let keys: Vec<String> = (0..count)
            .map(|number| format!(r#""commonprefix{number}":0"#))
            .collect();
        let text = format!("{{{}}}", keys.join(","));
        assert!(
            parse(text.as_bytes(), &Limits::request()).is_ok(),
            "{count} keys"
        );
        for place in [0, count / 2, count - 1] {
            let escaped = keys[place].replace("common", "c\\u006fmmon");
            let twice = format!("{{{},{}}}", keys.join(","), escaped);
            let error = parse(twice.as_bytes(), &Limits::request()).expect_err("a key twice");
            assert_eq!(error.fault.as_str(), "duplicate_key");
            assert_eq!(error.offset, text.len());
        }
    }
}

#[test]
fn trap_01_many_keys_cost_no_square() {
    // Keys that no prefix, length or hash tells apart: a pairwise comparison would look 400 million times.
    let keys: Vec<String> = (0..20_000)
        .map(|number| format!(r#""aaaaaaaaaaaa{number:05}":0"#))
        .collect();
    let text = format!("{{{}}}", keys.join(","));
    let before = LOOKS.get();
    assert!(parse(text.as_bytes(), &Limits::request()).is_ok());
    assert!(LOOKS.get() - before < 20_000 * 60);
}

#[test]
fn views_decode_and_walk() {
    let text = r#" { "a" : [ 1 , "x,]}\"" , { } , [ ] ] , "b\u0062" : { "c" : null } , "t":true} "#;
    let raw = parse(text.as_bytes(), &Limits::request()).expect("legal");
    let items: Vec<&str> = raw
        .member("a")
        .expect("a")
        .items()
        .map(Raw::as_str)
        .collect();
    assert_eq!(items, ["1", r#""x,]}\"""#, "{ }", "[ ]"]);
    assert_eq!(
        raw.member("bb")
            .and_then(|inner| inner.member("c"))
            .map(Raw::is_null),
        Some(true)
    );
    assert_eq!(raw.member("t").and_then(Raw::bool), Some(true));
    assert_eq!(raw.member("c").map(Raw::kind), None);
    let second = raw
        .member("a")
        .and_then(|list| list.items().nth(1))
        .expect("second");
    assert_eq!(second.string().as_deref(), Some("x,]}\""));
    // Views of the wrong kind are empty, not wrong.
    assert_eq!(second.items().count() + second.members().count(), 0);
    assert_eq!(raw.integer(), None);
    assert_eq!(raw.string(), None);
}

/// Asserts that our view of `raw` is serde_json's.
fn agree(raw: Raw<'_>) {
    let text = raw.as_str();
    match raw.kind() {
        Kind::Null => assert_eq!(text, "null"),
        Kind::Bool => assert_eq!(raw.bool(), serde_json::from_str(text).ok()),
        Kind::Number => assert_eq!(raw.integer(), text.parse::<i64>().ok()),
        Kind::String => assert_eq!(
            raw.string().map(String::from),
            serde_json::from_str(text).ok()
        ),
        Kind::Array => {
            let theirs: Vec<&RawValue> = serde_json::from_str(text).expect("an array");
            let ours: Vec<Raw<'_>> = raw.items().collect();
            assert_eq!(ours.len(), theirs.len());
            for (our, their) in ours.into_iter().zip(theirs) {
                assert_eq!(our.as_str(), their.get());
                agree(our);
            }
        }
        Kind::Object => {
            let theirs: BTreeMap<String, &RawValue> =
                serde_json::from_str(text).expect("an object");
            assert_eq!(raw.members().count(), theirs.len());
            for (key, our) in raw.members() {
                let their = theirs
                    .get(key.string().expect("a key").as_ref())
                    .expect("the same key");
                assert_eq!(our.as_str(), their.get());
                agree(our);
            }
        }
    }
}

/// Texts near JSON: mostly legal, with odd spaces, escapes and now and then something that does not belong.
fn near_json() -> impl Strategy<Value = String> {
    let space = prop::sample::select(vec!["", "", " ", "\n", "\t \r"]);
    let string = prop::collection::vec(
        prop::sample::select(vec![
            "a",
            "B",
            "é",
            "😀",
            "\\n",
            "\\u0061",
            "\\ud83d\\ude00",
            "\\\"",
            "\\/",
            " ",
            ",",
            "}",
            "\\ud800",
        ]),
        0..5,
    )
    .prop_map(|parts| format!("\"{}\"", parts.concat()));
    let scalar = prop_oneof![
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "0",
            "-1",
            "1.50",
            "2e-3",
            "12345678901234567890",
            "01",
            "nul"
        ])
        .prop_map(str::to_owned),
        string.clone(),
    ];
    scalar.prop_recursive(5, 40, 6, move |inner| {
        let member = (string.clone(), space.clone(), inner.clone())
            .prop_map(|(key, gap, value)| format!("{key}{gap}:{gap}{value}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..6), space.clone()).prop_map(|(items, gap)| format!(
                "[{gap}{}{gap}]",
                items.join(&format!("{gap},{gap}"))
            )),
            (prop::collection::vec(member, 0..6), space.clone()).prop_map(
                |(members, gap)| format!("{{{gap}{}{gap}}}", members.join(&format!("{gap},")))
            ),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_accepted_reads_the_same_elsewhere(text in near_json()) {
        if let Ok(raw) = parse(text.as_bytes(), &Limits::request()) {
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            prop_assert_eq!(raw.as_str(), text.trim());
            agree(raw);
        } else {
            // We refuse more (equal keys); never less.
            let theirs = serde_json::from_str::<Value>(&text).is_ok();
            let twice = parse(text.as_bytes(), &Limits::request()).is_err_and(|error| error.fault.as_str() == "duplicate_key");
            prop_assert!(!theirs || twice, "{}", text);
        }
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if parse(&bytes, &Limits::request()).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn a_string_ends_where_it_ends(head in "[a-zé😀]{0,150}", tail in "[a-z]{0,80}") {
        let text = format!("[\"{head}\",\"{tail}\"]");
        let raw = parse(text.as_bytes(), &Limits::request()).expect("legal");
        let strings: Vec<_> = raw.items().filter_map(Raw::string).collect();
        prop_assert_eq!(strings, vec![head.clone(), tail]);
        for bad in ["\u{1}", "\u{1f}", "\n"] {
            let text = format!("[\"{head}{bad}\"]");
            let fault = parse(text.as_bytes(), &Limits::request()).expect_err("a control character");
            prop_assert_eq!(fault.offset, 2 + head.len());
        }
    }
}
