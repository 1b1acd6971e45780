//! The upstream's results, as text around the id they answer.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::workload::Tool;

/// The size of the large result's text, in bytes.
const LARGE: usize = 64 * 1024;

/// What the tools' results say first. The driver looks for it: a refusal does not contain it.
const MARKER: &str = "keepgate-bench-result";

/// The large result's text: rows of a report, plain ASCII that JSON needs not escape.
static REPORT: LazyLock<String> = LazyLock::new(|| {
    let row = "CASE-40721,acct-9931,open,2026-03-14,printer does not print on tuesdays;";
    let mut text = format!("{MARKER};");
    while text.len() < LARGE {
        text.push_str(row);
    }
    text.truncate(LARGE);
    text
});

/// The members the stateless revision adds to a complete result.
fn complete(stateless: bool) -> &'static str {
    if stateless {
        r#""resultType":"complete","#
    } else {
        ""
    }
}

/// The members the stateless revision adds to a result that may be cached.
fn cacheable(stateless: bool) -> &'static str {
    if stateless {
        r#""resultType":"complete","ttlMs":0,"cacheScope":"private","#
    } else {
        ""
    }
}

/// About 250 B: two rows of a query.
pub(super) fn rows(id: &str, stateless: bool) -> Bytes {
    let complete = complete(stateless);
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{{complete}"content":[{{"type":"text","text":"{MARKER}: 2 rows\n40721 | printer does not print on tuesdays | open | 2026-03-14\n40733 | invoice shows the wrong account number | pending | 2026-03-15"}}],"isError":false}}}}"#
    ))
}

/// 64 KiB of text in one content block.
pub(super) fn report(id: &str, stateless: bool) -> Bytes {
    let report = REPORT.as_str();
    let complete = complete(stateless);
    let mut text = String::with_capacity(report.len() + 160);
    for part in [
        r#"{"jsonrpc":"2.0","id":"#,
        id,
        r#","result":{"#,
        complete,
        r#""content":[{"type":"text","text":""#,
        report,
        r#""}],"isError":false}}"#,
    ] {
        text.push_str(part);
    }
    Bytes::from(text)
}

/// The small result as an event stream's only event.
pub(super) fn event(id: &str, stateless: bool) -> Bytes {
    let complete = complete(stateless);
    Bytes::from(format!(
        "event: message\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{{complete}\"content\":[{{\"type\":\"text\",\"text\":\"{MARKER}: the case was given to another team; the customer was told and will answer until the end of the week\"}}],\"isError\":false}}}}\n\n"
    ))
}

/// The handshake's result. A revision this server does not know is answered with one it knows.
pub(super) fn initialize(id: &str, asked: Option<&str>) -> Bytes {
    let version = match asked {
        Some("2025-03-26") => "2025-03-26",
        Some("2025-06-18") => "2025-06-18",
        _ => "2025-11-25",
    };
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"{version}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"keepgate-bench","version":"1.0.0"}}}}}}"#
    ))
}

/// What a stateless client learns before its first call.
pub(super) fn discover(id: &str) -> Bytes {
    let cacheable = cacheable(true);
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{{cacheable}"supportedVersions":["2026-07-28"],"capabilities":{{"tools":{{}}}},"_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"keepgate-bench","version":"1.0.0"}}}}}}}}"#
    ))
}

/// How many tools the server has at least.
pub(super) static TOOLS: AtomicUsize = AtomicUsize::new(0);

/// The tools: those that are called declare the arguments they are called with, as real ones do.
pub(super) fn tools(id: &str, stateless: bool) -> Bytes {
    let cacheable = cacheable(stateless);
    let more = Tool::ALL.len()..TOOLS.load(Ordering::Relaxed);
    let tools: Vec<String> = Tool::ALL
        .into_iter()
        .map(|tool| (tool.name().to_owned(), schema(tool)))
        .chain(more.map(|number| (format!("tool_{number}"), r#"{"type":"object"}"#.to_owned())))
        .map(|(name, schema)| {
            format!(
                r#"{{"name":"{name}","description":"A tool of the bench.","inputSchema":{schema}}}"#
            )
        })
        .collect();
    let tools = tools.join(",");
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{{cacheable}"tools":[{tools}]}}}}"#
    ))
}

/// Declares the arguments of a tool, of any type.
fn schema(tool: Tool) -> String {
    let arguments: BTreeMap<&str, IgnoredAny> =
        serde_json::from_str(tool.arguments()).unwrap_or_default();
    let properties: Vec<String> = arguments
        .keys()
        .map(|name| format!("\"{name}\":{{}}"))
        .collect();
    format!(
        r#"{{"type":"object","properties":{{{}}}}}"#,
        properties.join(",")
    )
}

/// A result without content.
pub(super) fn empty(id: &str, stateless: bool) -> Bytes {
    let result = if stateless {
        r#"{"resultType":"complete"}"#
    } else {
        "{}"
    };
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
    ))
}

/// A JSON-RPC error.
pub(super) fn error(id: &str, code: i32, message: &str) -> Bytes {
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#
    ))
}
