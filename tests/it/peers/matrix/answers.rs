//! Servers that are sloppy about the answers of calls.

use std::io::Write as _;

use keepgate_tests::{Heard, Say, upstream::said};
use serde_json::{Value, json};

use super::Script;

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

pub(super) const ROWS: [(&str, Script); 45] = [
    ("the stream stays open after the answer", |it| {
        events(it, |id| vec![event(&hello(id)), Say::Hang])
    }),
    (
        "the stream ends after its first id, the answer comes on GET",
        cut,
    ),
    ("600 KB over a stream", |it| {
        events(it, |id| vec![event(&said(id, &"x".repeat(600_000)))])
    }),
    ("600 KB in a body", |it| {
        body(it, |id| said(id, &"x".repeat(600_000)).to_string())
    }),
    ("a screenshot of 4 MB over a stream", |it| {
        events(it, |id| vec![event(&screenshot(id))])
    }),
    ("a screenshot of 4 MB in a body", |it| {
        body(it, |id| screenshot(id).to_string())
    }),
    ("an answer of 7 MiB over `limits.result`", |it| {
        body(it, |id| said(id, &"x".repeat(7 << 20)).to_string())
    }),
    ("a text ends within a surrogate pair", |it| {
        content(it, r#"[{"type":"text","text":"half \ud83d"}]"#)
    }),
    ("a number has 30 digits", |it| {
        result(
            it,
            r#"{"content":[],"structuredContent":{"n":123456789012345678901234567890}}"#,
        )
    }),
    ("a decimal has 30 digits", |it| {
        result(
            it,
            r#"{"content":[],"structuredContent":{"n":0.123456789012345678901234567890}}"#,
        )
    }),
    ("a number is `1E400`", |it| {
        result(it, r#"{"content":[],"structuredContent":{"n":1E400}}"#)
    }),
    ("a result without `content`", |it| result(it, "{}")),
    ("a result of `structuredContent` alone", |it| {
        result(it, r#"{"structuredContent":{"a":1}}"#)
    }),
    ("a result of `toolResult` alone, as in 2024-10-07", |it| {
        result(it, r#"{"toolResult":"done"}"#)
    }),
    ("`content: null`", |it| result(it, r#"{"content":null}"#)),
    ("`isError: null`", |it| {
        result(it, r#"{"content":[],"isError":null}"#)
    }),
    ("`_meta: null`", |it| {
        result(it, r#"{"content":[],"_meta":null}"#)
    }),
    ("content of an unknown type", |it| {
        content(it, r#"[{"type":"video","data":"AA=="}]"#)
    }),
    ("unknown members of a result", |it| {
        result(it, r#"{"content":[],"acme":{"a":[null]}}"#)
    }),
    ("unknown members of the answer", |it| {
        body(it, |id| text(id, r#"{"content":[]},"acme":1"#))
    }),
    ("`error: null` next to the result", |it| {
        body(it, |id| text(id, r#"{"content":[]},"error":null"#))
    }),
    ("no `jsonrpc`", |it| {
        body(it, |id| {
            format!(r#"{{"id":{id},"result":{{"content":[]}}}}"#)
        })
    }),
    ("the id comes back as a text", |it| {
        body(it, |id| text(&json!(plain(id)), r#"{"content":[]}"#))
    }),
    ("an unknown notification before the answer", |it| {
        after(
            it,
            r#"{"jsonrpc":"2.0","method":"notifications/acme/hello"}"#,
        )
    }),
    ("progress nobody asked for before the answer", |it| {
        after(
            it,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":99,"progress":1}}"#,
        )
    }),
    ("a response to nothing before the answer", |it| {
        after(it, r#"{"jsonrpc":"2.0","id":987654,"result":{}}"#)
    }),
    ("an unknown request before the answer", |it| {
        after(it, r#"{"jsonrpc":"2.0","id":"a","method":"acme/hello"}"#)
    }),
    (
        "a log message without a declaration before the answer",
        |it| {
            after(
                it,
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"hi"}}"#,
            )
        },
    ),
    (
        "a notification with `params: null` before the answer",
        |it| {
            after(
                it,
                r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":null}"#,
            )
        },
    ),
    ("a notification with a key twice before the answer", |it| {
        after(
            it,
            r#"{"jsonrpc":"2.0","method":"notifications/acme","params":{"a":1,"a":2}}"#,
        )
    }),
    ("an event with a text before the answer", |it| {
        after(it, "ping")
    }),
    ("an event with `{}` before the answer", |it| after(it, "{}")),
    ("an answer that is cut off before the whole one", |it| {
        events(it, |id| {
            vec![
                Say::text("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"res\n\n"),
                event(&hello(id)),
            ]
        })
    }),
    ("`result: null` next to the error", |it| {
        body(it, |id| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":null,"error":{{"code":-32000,"message":"no"}}}}"#
            )
        })
    }),
    ("`event: ping` with a time as its data", |it| {
        framed(it, "event: ping\ndata: 2026-11-30T12:00:00Z\n\n")
    }),
    ("an event of an unknown type with JSON", |it| {
        framed(it, "event: acme\ndata: {\"a\":1}\n\n")
    }),
    ("comments and an event without data", |it| {
        framed(it, ": hello\n\n:\n\nevent: message\n\nid: 7\n\n")
    }),
    ("a stream with a byte order mark", |it| {
        framed(it, "\u{feff}: hello\n\n")
    }),
    ("lines end in CR LF", |it| {
        call(it, |id| {
            vec![
                Say::text(STREAM),
                Say::text(&format!("event: message\r\ndata: {}\r\n\r\n", hello(id))),
            ]
        })
    }),
    ("data in several lines", |it| {
        call(it, |id| {
            let lines = serde_json::to_string_pretty(&hello(id))
                .expect("JSON")
                .replace('\n', "\ndata: ");
            vec![Say::text(STREAM), Say::text(&format!("data: {lines}\n\n"))]
        })
    }),
    ("media types with a charset, in capitals", |it| {
        call(it, |id| {
            Say::http(
                "200 OK",
                "Application/JSON; Charset=UTF-8",
                &hello(id).to_string(),
            )
        })
    }),
    ("JSON as `text/plain`", |it| {
        call(it, |id| {
            Say::http("200 OK", "text/plain", &hello(id).to_string())
        })
    }),
    ("JSON without a media type", |it| {
        call(it, |id| {
            let body = hello(id).to_string();
            vec![Say::text(&format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ))]
        })
    }),
    ("a body in gzip", |it| call(it, |id| gzip(&hello(id)))),
    ("the connection is closed after each answer", |it| {
        call(it, |id| {
            let body = hello(id);
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
            vec![Say::text(&format!("{head}{body}")), Say::Close]
        })
    }),
];

fn call(heard: &Heard, says: impl FnOnce(&Value) -> Vec<Say>) -> Option<Vec<Say>> {
    (heard.method() == "tools/call").then(|| says(&heard.json()["id"]))
}

fn hello(id: &Value) -> Value {
    said(id, "hello")
}

fn event(message: &Value) -> Say {
    Say::event(message)
}

fn events(heard: &Heard, says: impl FnOnce(&Value) -> Vec<Say>) -> Option<Vec<Say>> {
    call(heard, |id| {
        [vec![Say::text(STREAM)], says(id), vec![Say::Close]].concat()
    })
}

/// An answer over a stream, after other lines of it.
fn framed(heard: &Heard, before: &str) -> Option<Vec<Say>> {
    events(heard, |id| vec![Say::text(before), event(&hello(id))])
}

/// An answer over a stream, after another message.
fn after(heard: &Heard, message: &str) -> Option<Vec<Say>> {
    framed(heard, &format!("data: {message}\n\n"))
}

fn body(heard: &Heard, text: impl FnOnce(&Value) -> String) -> Option<Vec<Say>> {
    call(heard, |id| {
        Say::http("200 OK", "application/json", &text(id))
    })
}

fn text(id: &Value, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

fn result(heard: &Heard, result: &str) -> Option<Vec<Say>> {
    body(heard, |id| text(id, result))
}

fn content(heard: &Heard, content: &str) -> Option<Vec<Say>> {
    result(heard, &format!(r#"{{"content":{content}}}"#))
}

/// An id without quotes.
fn plain(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

fn screenshot(id: &Value) -> Value {
    let image = json!({"type": "image", "mimeType": "image/png", "data": "A".repeat(4 << 20)});
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [image]}})
}

/// The first event of a call has the call's own id, under which its answer is fetched.
fn cut(heard: &Heard) -> Option<Vec<Say>> {
    if let ("GET", Some(id)) = (heard.verb.as_str(), heard.header("last-event-id")) {
        let id = serde_json::from_str(id).unwrap_or_else(|_| json!(id));
        return Some(Say::sse_whole(&[hello(&id)]));
    }
    call(heard, |id| {
        let first = format!("id: {id}\nretry: 10\ndata:\n\n");
        vec![Say::text(STREAM), Say::text(&first), Say::Close]
    })
}

fn gzip(message: &Value) -> Vec<Say> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer
        .write_all(message.to_string().as_bytes())
        .expect("memory");
    let body = writer.finish().expect("memory");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    vec![Say::Bytes([head.into_bytes(), body].concat())]
}
