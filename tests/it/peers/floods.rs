//! Operators while servers flood the gateway: a kill is acknowledged and applied, whatever keeps the data workers busy.

use std::time::Duration;

use keepgate_tests::{Client, Events, FakeServer, Say, upstream::said};
use serde_json::{Value, json};

use super::gate::Home;

/// Far longer than anything here takes; only so that a failure ends.
const HANG: Duration = Duration::from_secs(120);

/// A server whose tool `delete` floods with what its argument names; the others answer at once.
async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| {
        let call = heard.json();
        if call["params"]["name"] != "delete" {
            return Say::json(&said(&call["id"], "done"));
        }
        let piece = call["params"]["arguments"]["piece"]
            .as_str()
            .unwrap_or("\n")
            .to_owned();
        vec![
            Say::sse(),
            Say::Flood(piece.repeat(64 * 1024 / piece.len()).into_bytes()),
        ]
    })
    .await
}

/// Has the server flood until the stream ends, and gives the last message on it.
async fn flood(client: Client, piece: &'static str) -> Option<Value> {
    let params = json!({"name": "delete", "arguments": {"piece": piece}});
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    let mut events = Events::of(client.open("POST", call.to_string()).await);
    let mut last = None;
    while let Some(message) = events.message().await {
        last = Some(message);
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_is_applied_while_servers_flood_every_worker() {
    let server = server().await;
    let gate = Home::new().url("up", &server.url()).serve().await;
    let client = gate.client("up").initialize("2025-11-25").await;
    // Four times as many as there are workers, of each kind: without a message, and with nothing but messages.
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let tiny = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1}}\n\n";
    let pieces = ["\n", ":\n", tiny, tiny];
    let floods = pieces.iter().cycle().take(4 * cores);
    let floods = floods.map(|piece| tokio::spawn(flood(client.clone(), piece)));
    let floods: Vec<_> = floods.collect();
    super::process::until("every stream to flow", async || {
        server.heard_of("tools/call").len() == 4 * cores
    })
    .await;
    let url = format!("http://{}", gate.admin);
    let token = gate.home.path("state/admin-token");
    let words = [
        "kill",
        "set",
        "everything",
        "--reason",
        "it floods",
        "--url",
        &url,
        "--token-file",
    ];
    let words = [&words[..], &[token.to_str().expect("a path")]].concat();
    let set = tokio::time::timeout(HANG, gate.home.keepgate(&words))
        .await
        .expect("an acknowledgement");
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let refused = gate.client("up");
    let refused = tokio::time::timeout(HANG, refused.call_modern("echo", json!({})))
        .await
        .expect("an answer");
    assert_eq!(refused.code().as_deref(), Some("killed"));
    for flood in floods {
        let last = tokio::time::timeout(HANG, flood)
            .await
            .expect("an end")
            .expect("no panic");
        // None where the kill came before the stream began.
        let Some(last) = last else { continue };
        let code = last
            .pointer("/error/data/code")
            .or_else(|| last.pointer("/result/_meta/dev.keepgate~1refusal/code"));
        let ended = [json!("killed"), json!("upstream_flood")];
        assert!(code.is_some_and(|code| ended.contains(code)), "{last}");
    }
    gate.end().await;
}
