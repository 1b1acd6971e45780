//! Servers that are sloppy about `initialize`, notifications, their own streams and the end of sessions.

use keepgate_tests::{Heard, Say};
use serde_json::{Value, json};

use super::{Script, polite};

pub(super) const ROWS: [(&str, Script); 31] = [
    (
        "`notifications/initialized` is answered 200 with a text",
        |it| notified(it, Say::http("200 OK", "text/plain", "ok")),
    ),
    ("… 200 with an empty HTML page", |it| {
        notified(it, Say::http("200 OK", "text/html", ""))
    }),
    ("… 200 with an HTML page", |it| {
        notified(it, Say::http("200 OK", "text/html", "<html></html>"))
    }),
    ("… 200 with an empty chunked body", |it| {
        notified(it, empty_chunked())
    }),
    ("… 200 with `{}`", |it| {
        notified(it, Say::http("200 OK", "application/json", "{}"))
    }),
    ("… 200 with `null`", |it| {
        notified(it, Say::http("200 OK", "application/json", "null"))
    }),
    ("… 200 with a result without id", |it| {
        notified(
            it,
            Say::http(
                "200 OK",
                "application/json",
                r#"{"jsonrpc":"2.0","result":{}}"#,
            ),
        )
    }),
    ("… 201", |it| {
        notified(it, Say::http("201 Created", "text/plain", ""))
    }),
    ("… 204", |it| {
        notified(it, vec![Say::text("HTTP/1.1 204 No Content\r\n\r\n")])
    }),
    ("… 200 with an event stream that stays open", |it| {
        notified(it, open_stream())
    }),
    ("GET is answered 404 with a page", |it| {
        verb(
            it,
            "GET",
            Say::http("404 Not Found", "text/html", "Cannot GET /mcp"),
        )
    }),
    ("GET is answered 404 without a body", |it| {
        verb(it, "GET", Say::http("404 Not Found", "text/plain", ""))
    }),
    ("GET is answered 400", |it| {
        verb(it, "GET", Say::http("400 Bad Request", "text/plain", "no"))
    }),
    ("GET is answered 501", |it| {
        verb(
            it,
            "GET",
            Say::http("501 Not Implemented", "text/plain", ""),
        )
    }),
    ("GET is answered 200 with a page", |it| {
        verb(it, "GET", Say::http("200 OK", "text/html", "<html></html>"))
    }),
    ("DELETE is answered 404", |it| {
        verb(
            it,
            "DELETE",
            Say::http("404 Not Found", "text/html", "Cannot DELETE /mcp"),
        )
    }),
    ("DELETE is answered 500", |it| {
        verb(
            it,
            "DELETE",
            Say::http("500 Internal Server Error", "text/plain", "oops"),
        )
    }),
    ("`ping` is answered 404 with -32601 under its id", |it| {
        let error = json!({"jsonrpc": "2.0", "id": it.json()["id"], "error": {"code": -32601, "message": "no such method"}});
        method(
            it,
            "ping",
            Say::http("404 Not Found", "application/json", &error.to_string()),
        )
    }),
    ("`ping` is answered -32601", |it| {
        let error = json!({"jsonrpc": "2.0", "id": it.json()["id"], "error": {"code": -32601, "message": "no such method"}});
        method(it, "ping", Say::json(&error))
    }),
    (
        "`ping` without a session is answered 404 with a page",
        |it| {
            method(
                it,
                "ping",
                Say::http("404 Not Found", "text/html", "no such thing"),
            )
            .or_else(|| opened(it, |_| ()))
        },
    ),
    ("`ping` in a session is answered 404 with a page", |it| {
        method(
            it,
            "ping",
            Say::http("404 Not Found", "text/html", "no such thing"),
        )
    }),
    ("2024-11-05, whatever is asked for", |it| {
        opened(it, |result| result["protocolVersion"] = json!("2024-11-05"))
    }),
    ("2099-01-01, whatever is asked for", |it| {
        opened(it, |result| result["protocolVersion"] = json!("2099-01-01"))
    }),
    ("tasks are declared", |it| {
        let tasks = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
        opened(it, |result| result["capabilities"]["tasks"] = tasks)
    }),
    ("nothing is declared", |it| {
        opened(it, |result| result["capabilities"] = json!({}))
    }),
    ("unknown capabilities and members", |it| {
        opened(it, |result| {
            result["capabilities"]["acme"] = json!({"level": 3});
            result["acme"] = json!([1, null]);
        })
    }),
    ("`serverInfo` without a version", |it| {
        opened(it, |result| result["serverInfo"] = json!({"name": "s"}))
    }),
    ("`instructions: null`", |it| {
        opened(it, |result| result["instructions"] = Value::Null)
    }),
    (
        "`initialize` is answered over a stream that stays open",
        |it| {
            (it.method() == "initialize").then(|| {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                vec![
                    Say::text(head),
                    Say::event(&result(it, &opening())),
                    Say::Hang,
                ]
            })
        },
    ),
    ("the session id has 4000 letters", |it| {
        with_id(it, &"x".repeat(4000))
    }),
    (
        "each POST is redirected (307) to the path with a slash",
        |it| {
            let is_first = it.verb == "POST" && it.head.starts_with("POST /mcp ");
            let moved =
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: /mcp/\r\ncontent-length: 0\r\n\r\n";
            is_first.then(|| vec![Say::text(moved)])
        },
    ),
];

/// Servers whose clients replay the id of a session that is over.
pub(super) const REPLAYED: [(&str, Script); 1] = [(
    "`initialize` comes with the id of a session that is over",
    |_| None,
)];

fn notified(heard: &Heard, says: Vec<Say>) -> Option<Vec<Say>> {
    method(heard, "notifications/initialized", says)
}

fn method(heard: &Heard, method: &str, says: Vec<Say>) -> Option<Vec<Say>> {
    (heard.method() == method).then_some(says)
}

fn verb(heard: &Heard, verb: &str, says: Vec<Say>) -> Option<Vec<Say>> {
    (heard.verb == verb).then_some(says)
}

fn empty_chunked() -> Vec<Say> {
    vec![Say::text(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    )]
}

fn open_stream() -> Vec<Say> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n";
    vec![Say::text(head), Say::Hang]
}

fn opening() -> Value {
    json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}})
}

fn result(heard: &Heard, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": result})
}

/// The answer to `initialize` without a session id, changed.
fn opened(heard: &Heard, change: impl FnOnce(&mut Value)) -> Option<Vec<Say>> {
    (heard.method() == "initialize").then(|| {
        let mut opening = opening();
        change(&mut opening);
        Say::json(&result(heard, &opening))
    })
}

/// The answer to `initialize` with this session id; without it, other requests are refused.
fn with_id(heard: &Heard, id: &str) -> Option<Vec<Say>> {
    if heard.method() != "initialize" {
        let is_of_session = heard.header("mcp-session-id") == Some(id);
        return Some(match is_of_session {
            true => polite(heard),
            false => Say::http("400 Bad Request", "text/plain", "no session"),
        });
    }
    let body = result(heard, &opening()).to_string();
    let length = body.len();
    Some(vec![Say::text(&format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: {id}\r\ncontent-length: {length}\r\n\r\n{body}"
    ))])
}
