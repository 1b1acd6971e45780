//! Every reader of peer data, on the most hostile texts: four times the text, four times the steps.

use bytes::Bytes;

use super::of;
use crate::{
    Limits, Listing, Message, Revision, decode,
    json::{self, Raw},
    message::Body,
    method::ListKind,
    sse::{Decoder, SseLimits},
};

/// Four times the text may take so many times the steps, in tenths: sorting takes a little more than its length.
const GROWTH: u64 = 50;
/// So many steps a byte are no sign of anything: keys that come sorted cost less than others.
const FREE: u64 = 4;
/// So many steps a byte of text, whatever it is.
const EACH: u64 = 40;

/// Holds `cost`, which reads a text that `make` makes of about a length, to its growth.
fn linear(name: &str, make: impl Fn(usize) -> Vec<u8>, cost: impl Fn(&[u8]) -> u64) {
    let (small, large) = (make(24_000), make(96_000));
    let (few, many) = (cost(&small), cost(&large));
    let grown = large.len() as u64 * 10 / small.len().max(1) as u64;
    assert!(
        many * 10 <= few.max(FREE * small.len() as u64) * GROWTH.max(grown + 10),
        "{name}: {few} steps for {} bytes, {many} for {}",
        small.len(),
        large.len()
    );
    assert!(
        many <= EACH * large.len() as u64 + 1000,
        "{name}: {many} steps for {} bytes",
        large.len()
    );
    assert!(many > 0, "{name}: nothing is counted");
}

fn repeated(piece: &str) -> impl Fn(usize) -> String + use<> {
    let piece = piece.to_owned();
    move |length| piece.repeat(length / piece.len() + 1)
}

/// Objects with keys of a kind, each with its number behind it.
fn keys(before: &str) -> impl Fn(usize) -> String + use<> {
    let before = before.to_owned();
    move |length| {
        let members: Vec<String> = (0..length / (before.len() + 10))
            .map(|number| format!("\"{before}{number:05}\":1"))
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

fn nested(open: &str, inner: &str, close: &str, deep: usize) -> impl Fn(usize) -> String + use<> {
    let (open, inner, close) = (open.repeat(deep), inner.to_owned(), close.repeat(deep));
    move |length| {
        format!(
            "{open}[{}0]{close}",
            format!("{inner},").repeat(length / inner.len())
        )
    }
}

fn string(piece: &str) -> impl Fn(usize) -> String + use<> {
    let made = repeated(piece);
    move |length| format!("\"{}\"", made(length))
}

/// A text of about a length.
type Made = Box<dyn Fn(usize) -> String>;

/// Values that cost a reader of JSON most.
fn values() -> Vec<(&'static str, Made)> {
    vec![
        ("letters", Box::new(string("a"))),
        ("escapes", Box::new(string("\\\\"))),
        ("quotes", Box::new(string("\\\""))),
        ("units", Box::new(string("\\u0041"))),
        ("pairs", Box::new(string("\\ud83d\\ude00"))),
        ("other letters", Box::new(string("\u{e9}\u{1f600}"))),
        (
            "space",
            Box::new(|length| format!("[{}1]", " ".repeat(length))),
        ),
        (
            "space between",
            Box::new(|length| format!("[0{}]", " , 1".repeat(length / 4))),
        ),
        (
            "numbers",
            Box::new(|length| format!("[0{}]", ",1234567890.5e10".repeat(length / 16))),
        ),
        (
            "empty",
            Box::new(|length| format!("[0{}]", ",{}".repeat(length / 3))),
        ),
        ("keys", Box::new(keys(""))),
        (
            "keys of one beginning",
            Box::new(keys("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")),
        ),
        (
            "long keys of one beginning",
            Box::new(keys(&"a".repeat(900))),
        ),
        ("keys in escapes", Box::new(keys("\\u0061\\u0061\\u0061"))),
        ("keys in other letters", Box::new(keys("\u{17f}\u{212a}"))),
        ("keys we read", Box::new(keys("progressToken"))),
        ("deep arrays", Box::new(nested("[", "1", "]", 50))),
        (
            "deep objects",
            Box::new(nested("{\"a\":", "{\"b\":1}", "}", 50)),
        ),
        ("unclosed", Box::new(repeated("["))),
        ("unclosed strings", Box::new(repeated("\"a\\\\"))),
    ]
}

#[test]
fn json_costs_its_length() {
    for (name, value) in values() {
        linear(
            name,
            |length| value(length).into_bytes(),
            |text| {
                of(|| {
                    assert!(
                        json::parse(text, &Limits::reply()).map(Raw::kind) != Ok(json::Kind::Null)
                    )
                })
            },
        );
    }
}

/// Goes over every value with the view that layers use.
fn walked(raw: Raw<'_>) -> usize {
    let _ = (raw.string(), raw.integer());
    let items = raw.items().map(walked).sum::<usize>();
    let members = raw
        .members()
        .map(|(key, value)| walked(key) + walked(value));
    items + members.sum::<usize>() + 1
}

#[test]
fn looking_at_json_costs_its_length() {
    for (name, value) in values() {
        // One look at each level: as often as it is deep.
        let deep = name.starts_with("deep");
        linear(
            name,
            |length| value(length).into_bytes(),
            |text| {
                of(|| {
                    if let Ok(raw) = json::parse(text, &Limits::reply()) {
                        walked(raw);
                    }
                }) / if deep { 10 } else { 1 }
                    + 1
            },
        );
    }
}

#[test]
fn messages_cost_their_length() {
    for (name, value) in values() {
        for member in ["params", "result", "error"] {
            let make = |length| {
                let head = if member == "params" {
                    r#""method":"m""#
                } else {
                    r#""id":1"#
                };
                format!(
                    r#"{{"jsonrpc":"2.0",{head},"{member}":{{"_meta":{},"x":0}}}}"#,
                    value(length)
                )
            };
            linear(
                name,
                |length| make(length).into_bytes(),
                |text| {
                    of(|| {
                        let decoded = decode(Bytes::copy_from_slice(text), &Limits::reply());
                        if let Ok(Body::Single(message)) = decoded {
                            let _ = (message.id(), message.method());
                        }
                    })
                },
            );
        }
    }
    let batch = |length| {
        format!(
            "[{}]",
            vec![r#"{"jsonrpc":"2.0","method":"m"}"#; length / 30].join(",")
        )
    };
    linear(
        "batch",
        |length| batch(length).into_bytes(),
        |text| of(|| drop(decode(Bytes::copy_from_slice(text), &Limits::reply()))),
    );
}

#[test]
fn lists_cost_their_length() {
    let tool = r#"{"name":"a","description":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","inputSchema":{"type":"object"}}"#;
    let make = |length: usize| {
        let tools = vec![tool; length / tool.len()].join(",");
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}]}}}}"#)
    };
    linear(
        "tools",
        |length| make(length).into_bytes(),
        |text| {
            let decoded = decode(Bytes::copy_from_slice(text), &Limits::reply()).unwrap();
            let Body::Single(Message::Response(response)) = decoded else {
                panic!("a response");
            };
            of(|| {
                let listing = Listing::read(&response, ListKind::Tools).unwrap();
                let mask: Vec<bool> = (0..listing.items().len())
                    .map(|place| place % 2 == 0)
                    .collect();
                drop(listing.keep(&mask, Revision::V2025_11_25));
            })
        },
    );
}

#[test]
fn event_streams_cost_their_length() {
    let pieces = [
        "\n",
        "\r",
        "\r\n",
        ":\n",
        "a\n",
        "data\n",
        "data:\n",
        "data: x\n",
        "data: x\n\n",
        "id: 1\n",
        "id:\n\n",
        "retry: 1\n\n",
        "event: x\n",
        "data: {}\nid: 1\nevent: message\n\n",
        "\u{feff}data: x\n\n",
        "x",
        "data: ",
    ];
    for piece in pieces {
        for chunk in [1, 7, 4096, usize::MAX] {
            linear(
                &format!("{piece:?} in chunks of {chunk}"),
                |length| repeated(piece)(length).into_bytes(),
                |text| {
                    of(|| {
                        let mut decoder = Decoder::new(SseLimits::default());
                        for chunk in text.chunks(chunk.min(text.len())) {
                            decoder.push(Bytes::copy_from_slice(chunk));
                            while let Some(event) = decoder.next() {
                                drop(event);
                            }
                        }
                    })
                },
            );
        }
    }
}
