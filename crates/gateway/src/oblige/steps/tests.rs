//! Every pass over an answer, on the most hostile ones: four times the answer, four times the steps.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keepgate_policy::{Obligations, PatternClass, RecordCap, Redact, Redaction};

use super::of;
use crate::oblige::{Rules, records, text::parsed};

/// Four times the answer may take so many times the steps, in tenths.
const GROWTH: u64 = 50;
/// So many steps a byte of an answer, whatever it is: a document may be looked at from each of its 64 levels, and texts lie in
/// texts four deep.
const EACH: u64 = 700;

const CLASSES: [PatternClass; 10] = [
    PatternClass::Email,
    PatternClass::Card,
    PatternClass::Iban,
    PatternClass::Ssn,
    PatternClass::Phone,
    PatternClass::Ipv4,
    PatternClass::Jwt,
    PatternClass::AwsAccessKey,
    PatternClass::PrivateKey,
    PatternClass::BearerToken,
];

/// Obligations of every kind, one at a time.
fn asked() -> Vec<(String, Vec<Redaction>, Vec<RecordCap>)> {
    let redaction = |what| Redaction {
        what,
        remove: false,
    };
    let removal = |what| Redaction { what, remove: true };
    let mut each: Vec<(String, Vec<Redaction>, Vec<RecordCap>)> = Vec::new();
    for class in CLASSES {
        each.push((
            format!("{class:?}"),
            vec![redaction(Redact::Pattern(class))],
            vec![],
        ));
    }
    each.push((
        "field".into(),
        vec![redaction(Redact::Field("ssn".into()))],
        vec![],
    ));
    each.push((
        "removed field".into(),
        vec![removal(Redact::Field("ssn".into()))],
        vec![],
    ));
    each.push((
        "pointer".into(),
        vec![redaction(Redact::Result("/**/ssn".into()))],
        vec![],
    ));
    each.push((
        "removed pointer".into(),
        vec![removal(Redact::Result("/*/**/a/**/b".into()))],
        vec![],
    ));
    each.push((
        "cap".into(),
        vec![],
        vec![RecordCap {
            max: 3,
            result: None,
        }],
    ));
    let within = RecordCap {
        max: 3,
        result: Some(Arc::from("/**/items")),
    };
    each.push(("cap of a place".into(), vec![], vec![within]));
    each
}

/// Rules of every kind, one at a time and all at once.
fn rules() -> Vec<(String, Rules)> {
    let mut each = asked();
    let all = (
        "all".to_owned(),
        each.iter()
            .flat_map(|(_, redact, _)| redact.clone())
            .collect(),
        each.iter().flat_map(|(_, _, caps)| caps.clone()).collect(),
    );
    each.push(all);
    let ready = |(name, redact, max_records)| {
        let obligations = Obligations {
            redact,
            max_records,
            timeout: Some(Duration::from_secs(1)),
            ..Obligations::default()
        };
        (name, Rules::of(&obligations).unwrap().unwrap())
    };
    each.into_iter().map(ready).collect()
}

/// Pieces that cost most when they come again and again, in a text.
const PIECES: &[&str] = &[
    "a",
    " ",
    "[",
    "{",
    "\"",
    "\\",
    "\\u0041",
    "\\x41",
    "[ ",
    "{ \"",
    "{\"a\":",
    "[[1],",
    "[]",
    "{}",
    "[1] ",
    "{\"a\":1} ",
    "{\"ssn\":1}\n",
    "a@",
    "a@b.",
    "a@b.c",
    "@",
    "4",
    "4111 ",
    "4-",
    "4111111111111111 ",
    "1.",
    "1.1.1.1",
    "1.1.1.1.",
    "(555) ",
    "+1 ",
    "+1-",
    "00",
    "123-45-",
    "123-45-6789",
    "GB82 ",
    "GB82",
    "de89370400440532013000 ",
    "eyJ",
    "eyJaaaaa.",
    "eyJaaaaa.eyJaaaaa.",
    "AKIA",
    "AKIAAAAAAAAAAAAAAAAA",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN A PRIVATE KEY A",
    "bearer ",
    "bearer aaaaaaaa",
    "bearer  \t:=",
    "ssn",
    "ssn ",
    "ssn: 1 ",
    "ssn\"'`*)] ",
    "\u{17f}\u{17f}n",
    "'@",
    "''''",
    "..",
    "a.-",
];

fn response(result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#)
}

fn shown(text: &str) -> String {
    let text = serde_json::Value::from(text);
    format!(r#"{{"content":[{{"type":"text","text":{text}}}]}}"#)
}

/// The piece in every place of an answer where it is looked at.
fn answers(piece: &str, length: usize) -> Vec<String> {
    let many = length / piece.len() + 1;
    let one = piece.repeat(many);
    let text = serde_json::Value::from(piece).to_string();
    let texts = vec![text.as_str(); many].join(",");
    let keys: Vec<String> = (0..many)
        .map(|number| {
            format!(
                "{}:1",
                serde_json::Value::from(format!("{piece} {number:06}"))
            )
        })
        .collect();
    let blocks = vec![format!(r#"{{"type":"text","text":{text}}}"#); many.min(4_000)].join(",");
    let blob = STANDARD.encode(&one);
    let inner = serde_json::Value::from(shown(&one)).to_string();
    vec![
        shown(&one),
        format!(r#"{{"structuredContent":[{texts}]}}"#),
        format!(r#"{{"structuredContent":{{{}}}}}"#, keys.join(",")),
        format!(r#"{{"content":[{blocks}]}}"#),
        format!(r#"{{"contents":[{{"uri":"a:b","blob":"{blob}"}}]}}"#),
        shown(&inner),
        format!(r#"{{"structuredContent":{{"data":{inner}}}}}"#),
    ]
}

/// An answer of about a length.
type Made = Box<dyn Fn(usize) -> String>;

fn joined(piece: &str, length: usize) -> String {
    vec![piece; length / piece.len() + 1].join(",")
}

fn nested(open: &'static str, close: &'static str, deep: usize) -> Made {
    Box::new(move |length| {
        let (open, close) = (open.repeat(deep), close.repeat(deep));
        let inner = joined("\"a\"", length);
        format!(r#"{{"structuredContent":{open}[{inner}]{close}}}"#)
    })
}

/// Tables that cost most.
fn tables() -> Vec<(&'static str, Made)> {
    vec![
        (
            "a wide table",
            Box::new(move |length| {
                let (names, row) = (joined("\"ssn\"", length), joined("1", length / 3));
                format!(r#"{{"structuredContent":[[{names}],[{row}]]}}"#)
            }),
        ),
        (
            "a wide table of many rows",
            Box::new(move |length| {
                let (names, rows) = (joined("\"ssn\"", length), joined("[]", length));
                format!(r#"{{"structuredContent":[[{names}],{rows}]}}"#)
            }),
        ),
        (
            "columns and rows",
            Box::new(move |length| {
                let names = joined("\"ssn\"", length);
                let rows: Vec<String> = (0..length / 12)
                    .map(|number| format!("\"a{number}_rows\":[]"))
                    .collect();
                format!(
                    r#"{{"structuredContent":{{"columns":[{names}],{}}}}}"#,
                    rows.join(",")
                )
            }),
        ),
        (
            "columns as objects",
            Box::new(move |length| {
                let names = joined(r#"{"name":"ssn","columns":["ssn"]}"#, length);
                format!(
                    r#"{{"structuredContent":{{"columns":[{names}],"rows":[[{}]]}}}}"#,
                    joined("1", length / 8)
                )
            }),
        ),
    ]
}

/// Structures in each other.
fn depths() -> Vec<(&'static str, Made)> {
    vec![
        (
            "columns in columns",
            nested(r#"{"data":1,"columns":["#, "]}", 28),
        ),
        ("rows in rows", nested("[", "]", 58)),
        ("objects in objects", nested(r#"{"value":0,"a":"#, "}", 58)),
        (
            "blocks in blocks",
            Box::new(move |length| {
                let open = r#"[{"type":"resource","content":"#.repeat(28);
                format!(
                    r#"{{"content":{open}[{}]{}}}"#,
                    joined(r#"{"text":"{}"}"#, length),
                    "}]".repeat(28)
                )
            }),
        ),
    ]
}

/// Answers whose content costs most.
fn contents() -> Vec<(&'static str, Made)> {
    vec![
        (
            "masked keys",
            Box::new(move |length| {
                let keys: Vec<String> = (0..length / 20)
                    .map(|number| format!("\"a{number}@b.example\":1"))
                    .collect();
                let taken: Vec<String> = (2..length / 20)
                    .map(|number| format!("\"[redacted] ({number})\":1"))
                    .collect();
                format!(
                    r#"{{"structuredContent":{{{},{}}}}}"#,
                    keys.join(","),
                    taken.join(",")
                )
            }),
        ),
        (
            "values to look for",
            Box::new(move |length| {
                let values: Vec<String> = (0..length / 30)
                    .map(|number| format!("{{\"ssn\":\"aaaaaaaaaa{number}\"}}"))
                    .collect();
                let text = "aaaaaaaaaa ".repeat(length / 11);
                format!(
                    r#"{{"content":[{{"type":"text","text":"{text}"}}],"structuredContent":[{}]}}"#,
                    values.join(",")
                )
            }),
        ),
        (
            "records",
            Box::new(move |length| {
                format!(
                    r#"{{"structuredContent":{{"items":[{}]}}}}"#,
                    joined(r#"{"ssn":"123-45-6789"}"#, length)
                )
            }),
        ),
    ]
}

/// Answers whose structure costs most.
fn structures() -> Vec<(&'static str, Made)> {
    let mut all = tables();
    all.extend(depths());
    all.extend(contents());
    all
}

fn hold(name: &str, (small, large): (&str, &str), cost: impl Fn(&str) -> u64) {
    let (few, many) = (cost(small), cost(large));
    let grown = large.len() as u64 * 10 / small.len() as u64;
    assert!(
        many * 10 <= few.max(5_000) * GROWTH.max(grown + 10),
        "{name}: {few} steps for {} bytes, {many} for {}",
        small.len(),
        large.len()
    );
    let each = many / large.len() as u64;
    assert!(each <= EACH, "{name}: {each} steps a byte");
}

fn redaction(rules: &Rules) -> impl Fn(&str) -> u64 {
    |result| of(|| drop(rules.message(response(result).as_bytes())))
}

fn counting(result: &str) -> u64 {
    of(|| {
        records(parsed(result).unwrap());
    })
}

#[test]
fn no_answer_costs_redaction_more_than_its_length() {
    for (name, rules) in rules() {
        for piece in PIECES {
            // One rule in the place where it looks; all of them in every place.
            let places = if name == "all" { usize::MAX } else { 1 };
            let (small, large) = (answers(piece, 2_000), answers(piece, 8_000));
            for (place, (small, large)) in small.iter().zip(&large).take(places).enumerate() {
                let name = format!("{name}: {piece:?} in place {place}");
                hold(&name, (small, large), redaction(&rules));
            }
        }
        for (structure, make) in structures() {
            let (small, large) = (make(4_000), make(16_000));
            let name = format!("{name}: {structure}");
            hold(&name, (&small, &large), redaction(&rules));
        }
    }
}

#[test]
fn no_answer_costs_counting_more_than_its_length() {
    for piece in PIECES {
        let (small, large) = (answers(piece, 3_000), answers(piece, 12_000));
        for (place, (small, large)) in small.iter().zip(&large).enumerate() {
            hold(
                &format!("{piece:?} in place {place}"),
                (small, large),
                counting,
            );
        }
    }
    for (structure, make) in structures() {
        let (small, large) = (make(6_000), make(24_000));
        hold(structure, (&small, &large), counting);
    }
}
