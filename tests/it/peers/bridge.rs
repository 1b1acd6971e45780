//! `keepgate stdio`: the stdio clients of the official SDKs, in every era, through the bridge and a gateway.

pub(super) mod scripted;

use keepgate_tests::free_port;
use serde_json::json;

use super::drivers::all_passed;
use super::gate::{Gate, Home, of_kind};
use super::process::{program, run, serve};
use scripted::{Bridge, request};

/// Drives every client against the bridge to a server of the gateway.
async fn drive(gate: &Gate, server: &str, key: &[&str], reports: usize) {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().display().to_string();
    let keepgate = program("keepgate").display().to_string();
    let url = gate.url(server);
    let bridge = [&[keepgate.as_str(), "stdio", &url], key].concat();
    let words = [&["--stdio"][..], &["--"], &bridge].concat();
    let environment = [("OUT", folder.as_str())];
    println!("{}", run("drivers.sh", &words, &environment).await.good());
    all_passed(out.path(), reports);
}

#[tokio::test(flavor = "multi_thread")]
async fn stdio_clients_work_through_the_bridge() {
    let (_server, upstream) = serve("fixture", &[]).await;
    let gate = Home::new()
        .url("up", &upstream)
        .child("child", &["fixture-stdio"])
        .keys()
        .serve()
        .await;
    let (_id, key) = gate.home.key("bridge").await;
    let file = gate.home.path("key");
    keepgate_files::replace(&file, format!("{key}\n").as_bytes()).expect("a file");
    let reference = format!("file:{}", file.display());
    for server in ["up", "child"] {
        drive(&gate, server, &["--key", &reference], 7).await;
    }
    let records = gate.end().await;
    let intents = of_kind(&records, "call.intent");
    assert!(intents.len() > 100, "{} intents", intents.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_goes_on_after_the_gateway_was_killed() {
    let (_server, upstream) = serve("fixture", &[]).await;
    for server in ["up", "child"] {
        let port = free_port();
        let home = Home::new()
            .url("up", &upstream)
            .child("child", &["fixture-stdio"])
            .with(|it| it["listen"] = json!(format!("127.0.0.1:{port}")));
        let gate = home.serve().await;
        let mut bridge = Bridge::at(&gate.url(server), &[]);
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}});
        bridge.send(&request(0, "initialize", hello)).await;
        assert_eq!(bridge.hear().await["id"], 0);
        bridge
            .send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        let echo = |id: u64| {
            request(
                id,
                "tools/call",
                json!({"name": "echo", "arguments": {"message": "hello"}}),
            )
        };
        let answer = |answer: &serde_json::Value| answer["result"]["content"][0]["text"] == "hello";
        bridge.send(&echo(1)).await;
        assert!(answer(&bridge.hear().await), "{server}");
        let home = gate.kill().await;
        // Nobody is there: the call is an error under its id, and not tried again.
        bridge.send(&echo(2)).await;
        let refused = bridge.hear().await;
        assert!(
            refused["id"] == 2 && refused["error"]["code"].is_number(),
            "{refused}"
        );
        let gate = home.serve().await;
        bridge.send(&request(3, "tools/list", json!({}))).await;
        let listed = bridge.hear().await;
        assert!(
            listed["id"] == 3 && listed["result"]["tools"].is_array(),
            "{server}: {listed}"
        );
        bridge.send(&echo(4)).await;
        assert!(answer(&bridge.hear().await), "{server}");
        gate.end_keeping().await;
    }
}
