//! One trace as a tree, out of the file Keepgate wrote (OpenTelemetry protocol file format: a line of JSON each).

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::SceneError;
use crate::console::{Console, Mark};

/// The call whose trace is shown.
const NAME: &str = "tools/call query_database";

/// What of a span is worth a look, in this order.
const SHOWN: [&str; 8] = [
    "keepgate.server.name",
    "mcp.protocol.version",
    "network.transport",
    "server.port",
    "keepgate.policy.effect",
    "keepgate.policy.reason_code",
    "keepgate.decision.id",
    "error.type",
];

/// Shows the trace of the first query; `false` when there is none, or it has no span below it.
pub(super) fn show(console: &Console, file: &Path) -> Result<bool, SceneError> {
    console.heading("One call as a trace, as a collector would get it")?;
    let text = fs::read_to_string(file)?;
    let spans: Vec<Value> = text.lines().flat_map(spans).collect();
    let root = spans
        .iter()
        .find(|span| named(span, "name") == NAME && below(&spans, span).next().is_some());
    let Some(root) = root else {
        console.line(Mark::Wrong, NAME, "no trace of it")?;
        return Ok(false);
    };
    console.print(&format!("      trace {}", named(root, "traceId")))?;
    print(console, &spans, root, "      ", "")?;
    Ok(true)
}

fn print(
    console: &Console,
    spans: &[Value],
    span: &Value,
    indent: &str,
    branch: &str,
) -> Result<(), SceneError> {
    let kind = match span.get("kind").and_then(Value::as_i64) {
        Some(2) => "server",
        Some(3) => "client",
        Some(_) | None => "internal",
    };
    let name = named(span, "name");
    console.print(&format!("{indent}{branch}{kind} {name}  {} us", took(span)))?;
    let below: Vec<&Value> = below(spans, span).collect();
    let inner = match branch {
        "" => indent.to_owned(),
        "└─ " => format!("{indent}   "),
        _ => format!("{indent}│  "),
    };
    let rail = if below.is_empty() { "   " } else { "│  " };
    for (key, value) in attributes(span) {
        console.print(&format!("{inner}{rail}{key} = {value}"))?;
    }
    for (index, span) in below.iter().enumerate() {
        let branch = if index + 1 == below.len() {
            "└─ "
        } else {
            "├─ "
        };
        print(console, spans, span, &inner, branch)?;
    }
    Ok(())
}

/// The spans of one line.
fn spans(line: &str) -> Vec<Value> {
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    let list = |value: &Value, name: &str| -> Vec<Value> {
        value
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let scopes = list(&line, "resourceSpans")
        .into_iter()
        .flat_map(move |resource| list(&resource, "scopeSpans"));
    scopes.flat_map(|scope| list(&scope, "spans")).collect()
}

fn below<'a>(spans: &'a [Value], span: &Value) -> impl Iterator<Item = &'a Value> {
    let (trace, id) = (
        named(span, "traceId").to_owned(),
        named(span, "spanId").to_owned(),
    );
    spans
        .iter()
        .filter(move |other| named(other, "traceId") == trace && named(other, "parentSpanId") == id)
}

fn named<'a>(span: &'a Value, name: &str) -> &'a str {
    span.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Microseconds from its start to its end.
fn took(span: &Value) -> u64 {
    let at = |name| named(span, name).parse::<u64>().unwrap_or_default();
    at("endTimeUnixNano").saturating_sub(at("startTimeUnixNano")) / 1_000
}

/// The attributes that are shown, as text.
fn attributes(span: &Value) -> Vec<(&'static str, String)> {
    let all = span.get("attributes").and_then(Value::as_array);
    let value = |name: &str| {
        let found = all?
            .iter()
            .find(|attribute| named(attribute, "key") == name)?;
        let value = found.get("value")?.as_object()?.values().next()?;
        Some(
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    };
    SHOWN
        .iter()
        .filter_map(|name| value(name).map(|value| (*name, value)))
        .collect()
}
