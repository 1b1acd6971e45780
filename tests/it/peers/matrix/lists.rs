//! Servers that are sloppy about lists of tools.

use keepgate_tests::{Heard, Say};

use super::Script;

const ECHO: &str = r#"{"name":"echo","inputSchema":{"type":"object"}}"#;

pub(super) const ROWS: [(&str, Script); 12] = [
    ("`nextCursor: null`", |it| {
        listed(it, ECHO, r#","nextCursor":null"#)
    }),
    ("`nextCursor` is empty", |it| {
        listed(it, ECHO, r#","nextCursor":"""#)
    }),
    ("`nextCursor` repeats", |it| {
        listed(it, ECHO, r#","nextCursor":"same""#)
    }),
    ("another tool's schema is 200 levels deep", |it| {
        with(it, &schema(&deep()))
    }),
    ("another tool's schema has a key twice", |it| {
        with(
            it,
            &schema(r#"{"type":"object","properties":{"a":{},"a":{}}}"#),
        )
    }),
    ("another tool's schema is empty", |it| {
        with(it, &schema("{}"))
    }),
    ("another tool's schema has a `$schema` nobody knows", |it| {
        with(
            it,
            &schema(r#"{"$schema":"https://example.com/draft-99","type":"object"}"#),
        )
    }),
    ("another tool can only be called as a task", |it| {
        with(
            it,
            r#"{"name":"other","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}}"#,
        )
    }),
    ("a tool is listed twice", |it| with(it, ECHO)),
    ("another tool's description is null", |it| {
        with(
            it,
            r#"{"name":"other","description":null,"inputSchema":{"type":"object"}}"#,
        )
    }),
    ("tools have unknown members and annotations", |it| {
        with(
            it,
            r#"{"name":"other","acme":[1],"annotations":{"acme":true},"inputSchema":{"type":"object"}}"#,
        )
    }),
    (
        "another tool's name has blanks, a slash and letters beyond ASCII",
        |it| {
            with(
                it,
                r#"{"name":"Grüße / all","inputSchema":{"type":"object"}}"#,
            )
        },
    ),
];

fn deep() -> String {
    format!(
        r#"{{"type":"object","a":{}1{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    )
}

fn schema(schema: &str) -> String {
    format!(r#"{{"name":"other","inputSchema":{schema}}}"#)
}

/// A list of `echo` and another tool.
fn with(heard: &Heard, other: &str) -> Option<Vec<Say>> {
    listed(heard, &format!("{ECHO},{other}"), "")
}

fn listed(heard: &Heard, tools: &str, more: &str) -> Option<Vec<Say>> {
    (heard.method() == "tools/list").then(|| {
        let id = &heard.json()["id"];
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{tools}]{more}}}}}"#);
        Say::http("200 OK", "application/json", &body)
    })
}
