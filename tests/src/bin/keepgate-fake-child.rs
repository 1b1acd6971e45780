//! A server over standard streams that does as its tools are called. For tests only.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON values index without panicking"
)]

use std::io::{BufRead as _, Write as _};

use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if let Some(heard) = std::env::var_os("HEARD") {
            let mut heard = std::fs::File::options()
                .create(true)
                .append(true)
                .open(heard)?;
            writeln!(heard, "{line}")?;
        }
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        if message["params"]["name"] == "die" {
            return Ok(());
        }
        for said in answer(&message, &line) {
            writeln!(out, "{said}")?;
            out.flush()?;
        }
    }
    Ok(())
}

fn answer(message: &Value, line: &str) -> Vec<String> {
    let (Some(id), Some(method)) = (message.get("id"), message["method"].as_str()) else {
        return Vec::new();
    };
    let result = match method {
        "initialize" => {
            json!({"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
            "serverInfo": {"name": "child", "version": "1"}})
        }
        "tools/list" => {
            json!({"tools": TOOLS.map(|name| json!({"name": name, "inputSchema": {"type": "object"}}))})
        }
        "tools/call" => return called(message, id, line),
        _ => json!({}),
    };
    vec![json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()]
}

const TOOLS: [&str; 9] = [
    "pid",
    "line",
    "variables",
    "die",
    "ask",
    "noise",
    "twice",
    "hang",
    "begin",
];

fn called(message: &Value, id: &Value, line: &str) -> Vec<String> {
    let says = |text: String| {
        json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})
            .to_string()
    };
    match message["params"]["name"].as_str().unwrap_or_default() {
        "pid" => vec![says(std::process::id().to_string())],
        "line" => vec![says(line.to_owned())],
        "variables" => {
            let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
            vec![says(names.collect::<Vec<_>>().join(" "))]
        }
        "ask" => vec![
            json!({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage", "params": {}})
                .to_string(),
            says("asked".to_owned()),
        ],
        "noise" => {
            let forged = json!({"jsonrpc": "2.0", "id": id, "result": {"forged": true}});
            // Standard error is no protocol, whatever is written there.
            let _nobody_reads_it = writeln!(std::io::stderr(), "{forged}");
            vec![
                "not json".to_owned(),
                "[1]".to_owned(),
                says("quiet".to_owned()),
            ]
        }
        "begin" => vec![
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "begun"}})
                .to_string(),
        ],
        "twice" => vec![says("once".to_owned()), says("twice".to_owned())],
        _ => Vec::new(),
    }
}
