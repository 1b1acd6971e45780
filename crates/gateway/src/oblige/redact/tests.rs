//! What is left of a message, and what never is.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keepgate_mcp::{Limits, encode, json};
use keepgate_policy::{Obligations, PatternClass, RecordCap, Redact, Redaction};
use proptest::prelude::*;

use super::{Rewritten, Rules};

fn asks(redact: &[Redaction], max_records: &[RecordCap]) -> Rules {
    let obligations = Obligations {
        redact: redact.to_vec(),
        max_records: max_records.to_vec(),
        timeout: Some(Duration::from_secs(1)),
        ..Obligations::default()
    };
    Rules::of(&obligations).unwrap().unwrap()
}

fn redaction(what: Redact) -> Redaction {
    Redaction {
        what,
        remove: false,
    }
}

fn field(name: &str) -> Redaction {
    redaction(Redact::Field(name.into()))
}

fn place(pointer: &str) -> Redaction {
    redaction(Redact::Result(pointer.into()))
}

fn pattern(class: PatternClass) -> Redaction {
    redaction(Redact::Pattern(class))
}

fn removed(redaction: Redaction) -> Redaction {
    Redaction {
        remove: true,
        ..redaction
    }
}

fn cap(max: u64, result: Option<&str>) -> RecordCap {
    RecordCap {
        max,
        result: result.map(Arc::from),
    }
}

/// What is left of a response with this result; itself if nothing is changed.
fn left(rules: &Rules, result: &str) -> String {
    let before = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
    let Some(Rewritten { bytes, .. }) = rules.message(before.as_bytes()) else {
        return result.to_owned();
    };
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        json::parse(text.as_bytes(), &Limits::reply()).is_ok(),
        "{text}"
    );
    assert_ne!(text, before, "a change that changes nothing");
    assert_eq!(rules.message(text.as_bytes()), None, "again: {text}");
    let result = text.strip_prefix(r#"{"jsonrpc":"2.0","id":1,"result":"#);
    result.unwrap().strip_suffix('}').unwrap().to_owned()
}

fn text(text: &str) -> String {
    format!(
        r#"{{"content":[{{"type":"text","text":{}}}]}}"#,
        encode::escape(text)
    )
}

#[test]
fn a_field_is_redacted_wherever_it_stands() {
    let rules = asks(&[field("SSN__c")], &[]);
    for (before, after) in [
        (
            r#"{"structuredContent":{"ssn__C":"1","b":2}}"#,
            r#"{"structuredContent":{"ssn__C":"[redacted]","b":2}}"#,
        ),
        (
            r#"{"structuredContent":{"a":[{"\u0053SN__c":{"x":1}}]}}"#,
            r#"{"structuredContent":{"a":[{"\u0053SN__c":"[redacted]"}]}}"#,
        ),
        (
            r#"{"structuredContent":{"\u017f\u017fn__c":1}}"#,
            r#"{"structuredContent":{"\u017f\u017fn__c":"[redacted]"}}"#,
        ),
        (
            r#"{"_meta":{"x":{"SSN__c":1}}}"#,
            r#"{"_meta":{"x":{"SSN__c":"[redacted]"}}}"#,
        ),
        (
            r#"{"content":[{"type":"text","text":"ok","SSN__c":1}]}"#,
            r#"{"content":[{"type":"text","text":"ok","SSN__c":"[redacted]"}]}"#,
        ),
        (
            &text(r#"{"SSN__c":1}"#),
            &text(r#"{"SSN__c":"[redacted]"}"#),
        ),
        (
            &text("{\"a\":1}\n{\"\\u0053SN__c\":1}"),
            &text("{\"a\":1}\n{\"\\u0053SN__c\":\"[redacted]\"}"),
        ),
        (
            &text(r#"Found: {"SSN__c":1}."#),
            &text(r#"Found: {"SSN__c":"[redacted]"}."#),
        ),
        (
            &text(&encode::escape(r#"{"SSN__c":1}"#)),
            &text(&encode::escape(r#"{"SSN__c":"[redacted]"}"#)),
        ),
    ] {
        assert_eq!(left(&rules, before), after, "{before}");
    }
}

#[test]
fn a_value_is_redacted_whose_name_stands_beside_it() {
    let rules = asks(&[removed(field("SSN__c"))], &[]);
    for (before, after) in [
        (
            r#"{"name":"SSN__c","value":"1","n":2}"#,
            r#"{"name":"SSN__c","value":"[redacted]","n":2}"#,
        ),
        (
            r#"[{"stringValue":["1"],"\u0061":"Contact.ssn__\u0043"},{"name":"Id","value":"2"}]"#,
            r#"[{"stringValue":"[redacted]","\u0061":"Contact.ssn__\u0043"},{"name":"Id","value":"2"}]"#,
        ),
        (
            r#"{"columns":["Id","SSN__c"],"rows":[["1","2"],["3",[4]],{"a":1}]}"#,
            r#"{"columns":["Id","SSN__c"],"rows":[["1","[redacted]"],["3","[redacted]"],{"a":1}]}"#,
        ),
        (
            r#"{"data":[[1,2,[3,4]]],"fields":[{"name":"SSN__c"},{"name":"Id"}],"tags":[[1,2]]}"#,
            r#"{"data":[["[redacted]",2,[3,4]]],"fields":[{"name":"SSN__c"},{"name":"Id"}],"tags":[[1,2]]}"#,
        ),
        (
            r#"{"header":["Id","SSN__c"],"values":[1,2,3]}"#,
            r#"{"header":["Id","SSN__c"],"values":[1,"[redacted]",3]}"#,
        ),
        (
            r#"[["Id","SSN__c"],["1","2"],["3","4"]]"#,
            r#"[["Id","SSN__c"],["1","[redacted]"],["3","[redacted]"]]"#,
        ),
        (
            r#"{"label":"SSN__c","type":"text","values":null,"other":[["SSN"],[1]]}"#,
            r#"{"label":"SSN__c","type":"text","values":"[redacted]","other":[["SSN"],[1]]}"#,
        ),
    ] {
        let structured = |data: &str| format!(r#"{{"structuredContent":{{"x":{data}}}}}"#);
        assert_eq!(left(&rules, &structured(before)), structured(after));
        assert_eq!(left(&rules, &text(before)), text(after));
    }
}

#[test]
fn text_that_names_a_field_is_withheld() {
    let rules = asks(&[field("SSN__c")], &[]);
    for (before, after) in [
        (&*text("Name: Bob\nSSN__c: 1"), &*text("[redacted]")),
        (&text("the ssn__c is one"), &text("[redacted]")),
        (&text(r#"[{"a":1},{"SSN\u005f_c": "1"#), &text("[redacted]")),
        (&text(r#"{"SSN__c":1,"SSN__c":2}"#), &text("[redacted]")),
        (&text("NotSSN__cx: 1"), &text("NotSSN__cx: 1")),
        (
            r#"{"structuredContent":{"hint":"SSN__c: 1","note":"the SSN__c of"}}"#,
            r#"{"structuredContent":{"hint":"[redacted]","note":"the SSN__c of"}}"#,
        ),
        (
            r#"{"content":[{"type":"resource","resource":{"uri":"x:y","text":"{\"SSN__c\":1}"}}]}"#,
            r#"{"content":[{"type":"resource","resource":{"uri":"x:y","text":"{\"SSN__c\":\"[redacted]\"}"}}]}"#,
        ),
        (
            r#"{"contents":[{"uri":"x:y","text":"{\"SSN__c\":1}"}]}"#,
            r#"{"contents":[{"uri":"x:y","text":"{\"SSN__c\":\"[redacted]\"}"}]}"#,
        ),
        (
            r#"{"messages":[{"role":"user","content":{"type":"text","text":"{\"SSN__c\":1}"}}]}"#,
            r#"{"messages":[{"role":"user","content":{"type":"text","text":"{\"SSN__c\":\"[redacted]\"}"}}]}"#,
        ),
    ] {
        assert_eq!(left(&rules, before), after, "{before}");
    }
}

#[test]
fn members_of_the_protocol_are_no_fields() {
    let rules = asks(
        &[
            field("text"),
            field("type"),
            field("name"),
            field("content"),
        ],
        &[],
    );
    let result = r#"{"content":[{"type":"text","text":"x"},{"type":"resource_link","name":"n","uri":"a:b"}]}"#;
    assert_eq!(left(&rules, result), result);
    let data = r#"{"structuredContent":{"type":1,"content":2}}"#;
    let masked = r#"{"structuredContent":{"type":"[redacted]","content":"[redacted]"}}"#;
    assert_eq!(left(&rules, data), masked);
}

#[test]
fn a_place_is_redacted_in_every_structure() {
    let rules = asks(
        &[
            place("/items/*/ssn"),
            removed(place("/items/*/pin")),
            place("/**/deep"),
        ],
        &[],
    );
    for (before, after) in [
        (
            r#"{"structuredContent":{"items":[{"ssn":1,"pin":2,"n":3}],"ssn":4}}"#,
            r#"{"structuredContent":{"items":[{"ssn":"[redacted]","n":3}],"ssn":4}}"#,
        ),
        (
            &text(r#"{"items":[{"pin":1}],"a":{"deep":[1]}}"#),
            &text(r#"{"items":[{}],"a":{"deep":"[redacted]"}}"#),
        ),
        (&text(r#"{"items":[{"ssn":1"#), &text("[redacted]")),
        (
            &text(r#"{"items":[],"items":[{"ssn":1}]}"#),
            &text("[redacted]"),
        ),
        (&text("plain words {x} [1]"), &text("plain words {x} [1]")),
    ] {
        assert_eq!(left(&rules, before), after, "{before}");
    }
    let whole = asks(&[place("")], &[]);
    assert_eq!(
        left(&whole, r#"{"structuredContent":{"a":1}}"#),
        r#"{"structuredContent":{}}"#
    );
    let error = br#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","data":{"items":[{"ssn":1}]}}}"#;
    let said = rules.message(error).unwrap();
    assert!(
        String::from_utf8(said.bytes)
            .unwrap()
            .contains(r#""ssn":"[redacted]""#)
    );
}

#[test]
fn prose_does_not_say_what_is_redacted_beside_it() {
    let rules = asks(&[place("/salary")], &[]);
    assert_eq!(
        left(
            &rules,
            r#"{"content":[{"type":"text","text":"Ann earns 71500, not 715001"}],"structuredContent":{"salary":71500}}"#
        ),
        r#"{"content":[{"type":"text","text":"Ann earns [redacted], not 715001"}],"structuredContent":{"salary":"[redacted]"}}"#
    );
}

#[test]
fn prose_beside_more_values_than_are_looked_for_is_withheld() {
    let rules = asks(&[place("/*")], &[]);
    let say = |prose: &str, values: &str| {
        format!(
            r#"{{"content":[{{"type":"text","text":"{prose}"}},{{"type":"text","text":"[1]\n[2]"}}],"structuredContent":{{{values}}}}}"#
        )
    };
    let all = |value: &dyn Fn(u32) -> String| {
        let members = (0..3000).map(|at| format!(r#""{at:05}":{}"#, value(at)));
        members.collect::<Vec<_>>().join(",")
    };
    let before = say(
        "The last is value-99999.",
        &all(&|at| format!(r#""value-{}""#, 97_000 + at)),
    );
    let after = say("[redacted]", &all(&|_| r#""[redacted]""#.to_owned()));
    let after = after.replace(r"[1]\n[2]", r#"[\"[redacted]\"]\n[\"[redacted]\"]"#);
    assert_eq!(left(&rules, &before), after);
}

#[test]
fn many_keys_that_are_redacted_cost_no_square() {
    let rules = asks(&[pattern(PatternClass::Email)], &[]);
    let object = |key: &dyn Fn(u32) -> String| {
        let members = (1..=20_000).map(|at| format!(r#""{}":{at}"#, key(at)));
        let members = members.collect::<Vec<_>>().join(",");
        format!(r#"{{"structuredContent":{{"[redacted] (7)":0,{members}}}}}"#)
    };
    // The seventh number is taken.
    let masked = |at: u32| match at {
        1 => "[redacted]".to_owned(),
        2..=6 => format!("[redacted] ({at})"),
        _ => format!("[redacted] ({})", at + 1),
    };
    let before = object(&|at| format!("a{at}@b.example"));
    assert_eq!(left(&rules, &before), object(&masked));
}

#[test]
fn patterns_are_found_in_every_string() {
    let rules = asks(
        &[pattern(PatternClass::Email), pattern(PatternClass::Card)],
        &[],
    );
    for (before, after) in [
        (&text("to a@b.example"), &text("to [redacted]")),
        (
            &text(r#"{"x":"a\u0040b.example"}"#),
            &text(r#"{"x":"[redacted]"}"#),
        ),
        (&text(r#"{"x":"a\u0040b.example""#), &text("[redacted]")),
        (
            &r#"{"structuredContent":{"a\u0040b.example":1,"c@d.example":2,"n":4111111111111111}}"#
                .to_owned(),
            &r#"{"structuredContent":{"[redacted]":1,"[redacted] (2)":2,"n":"[redacted]"}}"#
                .to_owned(),
        ),
    ] {
        assert_eq!(left(&rules, before), *after, "{before}");
    }
}

#[test]
fn base64_is_looked_into_or_withheld() {
    let rules = asks(&[pattern(PatternClass::Email)], &[]);
    let blob = |bytes: &[u8]| {
        format!(
            r#"{{"contents":[{{"uri":"x:y","mimeType":"text/plain","blob":"{}"}}]}}"#,
            STANDARD.encode(bytes)
        )
    };
    assert_eq!(
        left(&rules, &blob(b"to a@b.example")),
        blob(b"to [redacted]")
    );
    assert_eq!(left(&rules, &blob(b"nothing")), blob(b"nothing"));
    let withheld = r#"{"contents":[{"uri":"x:y","mimeType":"text/plain","text":"[withheld: cannot be looked into]"}]}"#;
    assert_eq!(left(&rules, &blob(b"\xff\xfea\0@\0b\0")), withheld);
    let image = r#"{"content":[{"type":"image","data":"/9j/4AAQ","mimeType":"image/png"},{"type":"text","text":"x"}]}"#;
    assert_eq!(
        left(&rules, image),
        r#"{"content":[{"type":"text","text":"[withheld: cannot be looked into]"},{"type":"text","text":"x"}]}"#
    );
    assert_eq!(left(&asks(&[place("/a")], &[]), image), image);
}

/// Results with base64 of a text where a text may stand, its place as `BASE64`.
const ENCODED: [&str; 6] = [
    r#"{"content":[{"type":"text","text":"BASE64"}]}"#,
    r#"{"content":[{"type":"text","text":"see BASE64 ok"}]}"#,
    r#"{"content":[{"type":"text","text":"data:application/json;base64,BASE64"}]}"#,
    r#"{"content":[{"type":"text","text":"{\"a\":1} BASE64"}]}"#,
    r#"{"structuredContent":{"x":["BASE64"]}}"#,
    r#"{"content":[],"_meta":{"x":"BASE64"}}"#,
];

#[test]
fn base64_is_looked_into_wherever_a_text_stands() {
    let json = r#"{"name":"Al","ssn":"078-05-1120"}"#;
    let prose = "The ssn: 078-05-1120 is this, and nothing else matters";
    let mail = "please write to albert@example.com about the thing";
    let rows = "[{\"id\":1},{\"id\":2},{\"id\":3}]";
    let (field, email) = (field("ssn"), pattern(PatternClass::Email));
    for shape in ENCODED {
        for (rules, text) in [
            (asks(std::slice::from_ref(&field), &[]), json),
            (asks(std::slice::from_ref(&field), &[]), prose),
            (asks(std::slice::from_ref(&email), &[]), mail),
            (asks(&[], &[cap(2, None)]), rows),
        ] {
            let once = STANDARD.encode(text);
            for base64 in [once.clone(), STANDARD.encode(format!("again {once}"))] {
                let left = left(&rules, &shape.replace("BASE64", &base64));
                assert!(!left.contains(&base64), "{text} in {shape}: {left}");
            }
            let honest = shape.replace("BASE64", &STANDARD.encode("[{\"id\":10000000}]"));
            assert_eq!(left(&rules, &honest), honest);
        }
    }
    let rules = asks(&[pattern(PatternClass::Email)], &[]);
    let shown = left(
        &rules,
        &ENCODED[1].replace("BASE64", &STANDARD.encode(mail)),
    );
    let wanted = STANDARD.encode("please write to [redacted] about the thing");
    assert_eq!(shown, ENCODED[1].replace("BASE64", &wanted));
}

#[test]
fn records_are_cut_and_it_is_said() {
    let rules = asks(&[], &[cap(2, None)]);
    for (before, after) in [
        (
            r#"{"_meta":{"a":1},"structuredContent":{"items":[{},{},{},{}],"tags":["a","b","c"]}}"#,
            r#"{"structuredContent":{"items":[{},{}],"tags":["a","b","c"]},"_meta":{"a":1,"dev.keepgate/records_cut":2}}"#,
        ),
        (
            r#"{"content":[{"type":"text","text":"[{},{},{}]"}]}"#,
            r#"{"content":[{"type":"text","text":"[{},{}]"}],"_meta":{"dev.keepgate/records_cut":1}}"#,
        ),
        (
            r#"{"content":[{"type":"text","text":"{}\n{}\n{}\n"}]}"#,
            r#"{"content":[{"type":"text","text":"{}\n{}\n"}],"_meta":{"dev.keepgate/records_cut":1}}"#,
        ),
        (
            r#"{"content":[{"text":"{}"},{"text":"hi"},{"text":"{}"},{"text":"{}"}]}"#,
            r#"{"content":[{"text":"{}"},{"text":"hi"},{"text":"{}"}],"_meta":{"dev.keepgate/records_cut":1}}"#,
        ),
        (
            r#"{"content":[{"text":"[{},{}]"}],"_meta":{}}"#,
            r#"{"content":[{"text":"[{},{}]"}],"_meta":{}}"#,
        ),
        (
            r#"{"content":[{"type":"resource","resource":{"text":"{}"}},{"type":"resource","resource":{"blob":"e30"}},{"text":"[1,2]"}]}"#,
            r#"{"content":[{"type":"resource","resource":{"text":"{}"}},{"type":"resource","resource":{"blob":"e30"}}],"_meta":{"dev.keepgate/records_cut":1}}"#,
        ),
        (
            r#"{"content":[{"type":"text","text":"[1,2]\n[3,4]\n[5,6]\n"}]}"#,
            r#"{"content":[{"type":"text","text":"[1,2]\n[3,4]\n"}],"_meta":{"dev.keepgate/records_cut":1}}"#,
        ),
        (
            r#"{"content":[{"type":"text","text":"as in [1], [2] and [3]"}]}"#,
            r#"{"content":[{"type":"text","text":"as in [1], [2] and [3]"}]}"#,
        ),
        (&text("a [[link]]"), &text("a [[link]]")),
        (&text(r#"[{"a":1},{"a":2},{"a":3"#), &text("[redacted]")),
        (&text(r#"{"a":[{},{},{}],"a":1}"#), &text("[redacted]")),
        (
            &text(&format!("{}[{{}},{{}},{{}}]", "[".repeat(40))),
            &text("[redacted]"),
        ),
    ] {
        assert_eq!(left(&rules, before), after, "{before}");
    }
    let named = asks(&[], &[cap(1, Some("/a")), cap(2, Some("/b"))]);
    assert_eq!(
        left(&named, &text(r#"{"a":[1,2,3],"c":1,"c":2}"#)),
        text("[redacted]")
    );
    assert_eq!(
        left(
            &named,
            r#"{"structuredContent":{"a":[1,2],"b":[1,2,3],"c":[{},{},{}]}}"#
        ),
        r#"{"structuredContent":{"a":[1],"b":[1,2],"c":[{},{},{}]},"_meta":{"dev.keepgate/records_cut":2}}"#
    );
}

#[test]
fn notifications_and_questions_are_looked_into() {
    let rules = asks(&[field("ssn"), pattern(PatternClass::Email)], &[]);
    for (before, after) in [
        (
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"ssn":1}}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"ssn":"[redacted]"}}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"a@b.example","progress":1,"message":"a@b.example"}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"a@b.example","progress":1,"message":"[redacted]"}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no a@b.example"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"no [redacted]"}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"is a@b.example yours"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{"message":"is [redacted] yours"}}"#,
        ),
    ] {
        let said = rules.message(before.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(said.bytes).unwrap(), after);
    }
}

/// JSON in which the secret stands under the field, with everything else about it left to chance.
fn values() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "\\PC{0,12}".prop_map(|text| encode::escape(&text)),
        Just(r#"{"Secret":"5f0c9a7e"}"#.to_owned()),
        Just(r#"{"\u0073ecret":{"a":["5f0c9a7e"]}}"#.to_owned()),
    ];
    leaf.prop_recursive(6, 64, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::btree_map("[a-z]{1,6}", inner.clone(), 0..4).prop_map(|members| {
                let members = members
                    .iter()
                    .map(|(key, value)| format!("\"{key}\" : {value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
            // Text that holds JSON, alone, among others, or after words.
            inner.clone().prop_map(|value| encode::escape(&value)),
            inner
                .clone()
                .prop_map(|value| encode::escape(&format!("found {value} today"))),
            inner.prop_map(|value| encode::escape(&format!("{{\"k\":1}}\n{{\"v\":{value}}}\n"))),
        ]
    })
}

fn results() -> impl Strategy<Value = String> {
    values().prop_flat_map(|value| {
        prop_oneof![
            Just(format!(
                r#"{{"structuredContent":{{"x":{value}}},"content":[]}}"#
            )),
            Just(text(&value)),
            Just(text(&format!("here: {value}"))),
            Just(format!(
                r#"{{"contents":[{{"uri":"a:b","blob":"{}"}}]}}"#,
                STANDARD.encode(&value)
            )),
            Just(format!(r#"{{"_meta":{{"x":{value}}}}}"#)),
        ]
    })
}

/// Everything in base64, decoded.
fn blobs(text: &str) -> String {
    let blobs = text.split("\"blob\":\"").skip(1);
    let decoded = blobs.map(|blob| STANDARD.decode(blob.split('"').next().unwrap()).unwrap());
    decoded
        .map(|blob| String::from_utf8(blob).unwrap())
        .collect()
}

proptest! {
    #[test]
    fn nothing_redacted_survives(result in results()) {
        let rules = asks(&[field("secret")], &[]);
        let said = left(&rules, &result);
        let decoded = STANDARD.encode("5f0c9a7e");
        prop_assert!(!said.contains("5f0c9a7e") && !said.contains(&decoded), "{said}");
        prop_assert!(!blobs(&said).contains("5f0c9a7e"), "{said}");
    }

    #[test]
    fn what_does_not_match_is_left_byte_for_byte(result in results()) {
        let rules = asks(&[field("nowhere"), place("/no/such/place"), pattern(PatternClass::PrivateKey)], &[cap(1_000_000, None)]);
        let message = format!(r#" {{"jsonrpc" : "2.0","id":1,"result":{result}}}"#);
        if let Some(said) = rules.message(message.as_bytes()) {
            // Only what begins like a structure and is none, or is too deep, may be withheld.
            let said = String::from_utf8(said.bytes).unwrap();
            prop_assert!(said.contains("[redacted]") || blobs(&said).contains("[redacted]"), "{said}");
        }
    }

    #[test]
    fn any_message_is_walked_over(text in "\\PC{0,200}", max in 0_u64..3) {
        let rules = asks(&[field("a"), place("/**/b"), pattern(PatternClass::Phone), pattern(PatternClass::Ssn)], &[cap(max, None)]);
        let _any = rules.message(text.as_bytes());
        let result = format!(r#"{{"content":[{{"type":"text","text":{}}}]}}"#, encode::escape(&text));
        left(&rules, &result);
    }
}
