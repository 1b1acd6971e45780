//! A server over standard streams with one tool, which runs any command: what an agent can make of a careless server.
//! For tests only.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON values index without panicking"
)]

use std::io::{BufRead as _, Write as _};

use serde_json::{Value, json};

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?).unwrap_or_default();
        let Some(id) = message.get("id") else {
            continue;
        };
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => {
                json!({"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "shell", "version": "1"}})
            }
            "tools/list" => {
                json!({"tools": [{"name": "run", "inputSchema": {"type": "object", "properties": {"command": {"type": "string"}}}}]})
            }
            "tools/call" => ran(&message["params"]["arguments"]),
            _ => json!({}),
        };
        writeln!(
            out,
            "{}",
            json!({"jsonrpc": "2.0", "id": id, "result": result})
        )?;
        out.flush()?;
    }
    Ok(())
}

/// The command's output, or an error with it when it failed. `$GATEWAY` is who started this process.
fn ran(arguments: &Value) -> Value {
    #[expect(
        clippy::disallowed_methods,
        reason = "not the gateway: a server that starts what it likes"
    )]
    let mut shell = std::process::Command::new("sh");
    let output = shell
        .args(["-c", arguments["command"].as_str().unwrap_or_default()])
        .env("GATEWAY", std::os::unix::process::parent_id().to_string())
        .stdin(std::process::Stdio::null())
        .output();
    let (failed, text) = match output {
        Ok(output) => (
            !output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        ),
        Err(error) => (true, error.to_string()),
    };
    json!({"content": [{"type": "text", "text": text}], "isError": failed})
}
