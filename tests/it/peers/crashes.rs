//! `kill -9` in mid-load, again and again on one state: the log verifies each time, and no call the server saw lacks its
//! intent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use keepgate_tests::client::modern_call;
use keepgate_tests::{FakeServer, Say, upstream::said};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::gate::{Gate, Home, of_kind};
use super::process::until;

/// States that gateways are killed on, and kills on each; `make soak` has more time. The whole log is verified after each kill, so
/// many kills on one state would verify most of it again and again.
fn kills() -> (usize, usize) {
    if std::env::var_os("SOAK").is_some() {
        (20, 100)
    } else {
        (1, 20)
    }
}

/// How many callers there are at once.
const CALLERS: usize = 8;

/// Calls in a row on one connection until it breaks; every call's argument is one of a kind.
async fn call_on(gate: std::net::SocketAddr, session: Option<String>, next: Arc<AtomicU64>) {
    let Ok(stream) = TcpStream::connect(gate).await else {
        return;
    };
    let Ok((mut sender, connection)) =
        http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await
    else {
        return;
    };
    tokio::spawn(connection);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let mut message = modern_call("echo", &json!({"number": number}));
        let mut request = Request::post("/up/mcp")
            .header("host", gate.to_string())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        match &session {
            Some(session) => {
                message["params"]
                    .as_object_mut()
                    .expect("params")
                    .remove("_meta");
                request = request
                    .header("mcp-session-id", session)
                    .header("mcp-protocol-version", "2025-11-25");
            }
            None => {
                request = request
                    .header("mcp-protocol-version", "2026-07-28")
                    .header("mcp-method", "tools/call")
                    .header("mcp-name", "echo");
            }
        }
        let request = request
            .body(Full::new(message.to_string().into()))
            .expect("a request");
        let Ok(answer) = sender.send_request(request).await else {
            return;
        };
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
            if frame.is_err() {
                return;
            }
        }
    }
}

/// The unique arguments of what the server heard.
fn heard(server: &FakeServer) -> BTreeSet<u64> {
    let calls = server.heard_of("tools/call").into_iter();
    calls
        .map(|heard| number(&heard.json()["params"]["arguments"]))
        .collect()
}

fn number(arguments: &Value) -> u64 {
    arguments["number"]
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {arguments}"))
}

/// Opens a stateful session and gives its id.
async fn session(gate: &Gate) -> String {
    let client_info = json!({"name": "crashes", "version": "1"});
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client_info});
    let opened = gate.client("up").ask("initialize", params).await;
    let id = opened
        .header("mcp-session-id")
        .expect("a session")
        .to_owned();
    let client = gate.client("up").header("mcp-session-id", &id);
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let ready = client
        .header("mcp-protocol-version", "2025-11-25")
        .post(ready.to_string())
        .await;
    assert_eq!(ready.status, 202, "{ready:?}");
    id
}

/// Starts callers of both eras.
async fn load(gate: &Gate, next: &Arc<AtomicU64>) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let session = if caller % 2 == 0 {
            Some(session(gate).await)
        } else {
            None
        };
        callers.spawn(call_on(gate.addr, session, Arc::clone(next)));
    }
    callers
}

/// Kills the gateway of one state under load so often. Gives the calls it was killed in.
async fn kill_under_load(kills: usize) -> u64 {
    // Half of the answers are streams, so that calls are caught in every state.
    let server = FakeServer::with_tools(|heard| {
        let call = heard.json();
        let answer = said(&call["id"], "counted");
        if number(&call["params"]["arguments"]).is_multiple_of(2) {
            Say::json(&answer)
        } else {
            Say::sse_whole(&[answer])
        }
    })
    .await;
    let next = Arc::new(AtomicU64::new(0));
    let mut home = Home::new().url("up", &server.url());
    let mut unfinished = 0;
    for kill in 0..kills {
        let durability = if kill % 2 == 0 { "written" } else { "synced" };
        let audit = json!({"durability": durability, "arguments": {"clear": ["up.echo"]}});
        let gate = home.with(|it| it["audit"] = audit).serve().await;
        let before = heard(&server).len();
        let mut callers = load(&gate, &next).await;
        // Not always at the same moment: after 20 to 58 calls.
        let enough = before + 20 + 2 * kill;
        until("load", async || heard(&server).len() >= enough).await;
        home = gate.kill().await;
        while let Some(ended) = callers.join_next().await {
            ended.expect("a caller's calls are answered or cut");
        }

        let report = home.verified().await;
        let records = home.records().await;
        let intents = of_kind(&records, "call.intent").into_iter();
        let announced: BTreeSet<_> = intents
            .filter(|intent| intent["tool_name"] == "echo")
            .map(|intent| {
                let arguments = intent["input_params"].as_str().expect("arguments in clear");
                number(&serde_json::from_str(arguments).expect("JSON"))
            })
            .collect();
        let secret: Vec<_> = heard(&server).difference(&announced).copied().collect();
        assert!(
            secret.is_empty(),
            "after kill {kill} the log lacks the intents of {secret:?}"
        );
        unfinished = report["unfinished"].as_u64().expect("a count");
    }
    let gate = home.serve().await;
    let last = gate
        .client("up")
        .call_modern("echo", json!({"number": u64::MAX >> 12}))
        .await;
    assert_eq!(last.status, 200, "{last:?}");
    unfinished
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_leaves_no_call_without_its_intent() {
    let ((states, kills), mut cut) = (kills(), 0);
    for _ in 0..states {
        cut += kill_under_load(kills).await;
    }
    // Kills that cut nothing would show nothing.
    assert!(cut > 0, "no call was cut in {states} times {kills} kills");
}

/// Sets a kill over the operators' API, and gives its answer.
async fn cut_off(gate: &Gate, scope: &str, target: &str) -> Value {
    let token = std::fs::read_to_string(gate.home.path("state/admin-token")).expect("a token");
    let operator = keepgate_tests::Client::new(gate.admin)
        .path("/api/v1/kills")
        .header("authorization", &format!("Bearer {}", token.trim()));
    let wish = json!({"scope": scope, "target": target, "reason": "crash test"});
    let answer = operator.post(wish.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_gateway_comes_back_with_what_was_cut_off() {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "counted"))).await;
    let next = Arc::new(AtomicU64::new(0));
    let mut home = Home::new().url("up", &server.url());
    for round in 0..5 {
        let gate = home.serve().await;
        let before = heard(&server).len();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            callers.spawn(call_on(gate.addr, None, Arc::clone(&next)));
        }
        until("load", async || heard(&server).len() >= before + 20).await;
        let set = cut_off(&gate, "tool", "up/echo").await;
        assert_eq!(
            (&set["durable"], &set["recorded"]),
            (&json!(true), &json!(true)),
            "{set}"
        );
        // What began before the answer has been cut by it; nothing new is let through while the callers go on.
        let at_ack = next.load(Ordering::SeqCst);
        until("the callers to go on", async || {
            next.load(Ordering::SeqCst) > at_ack + 20
        })
        .await;
        home = gate.kill().await;
        while let Some(ended) = callers.join_next().await {
            ended.expect("a caller's calls are answered or cut");
        }
        let late = heard(&server).into_iter().find(|number| *number >= at_ack);
        assert_eq!(
            late, None,
            "round {round}: a call that began after the answer was seen"
        );
        home.verified().await;

        let gate = home.serve().await;
        let count = server.heard_of("tools/call").len();
        let refused = gate
            .client("up")
            .call_modern("echo", json!({"number": 0}))
            .await;
        assert_eq!(refused.code().as_deref(), Some("killed"), "round {round}");
        assert_eq!(server.heard_of("tools/call").len(), count);
        let id = set["kill"]["id"].as_str().expect("an id");
        let token = std::fs::read_to_string(gate.home.path("state/admin-token")).expect("a token");
        let operator = keepgate_tests::Client::new(gate.admin)
            .path(&format!("/api/v1/kills/{id}"))
            .header("authorization", &format!("Bearer {}", token.trim()));
        let cleared = operator.send("DELETE", r#"{"reason":"next round"}"#).await;
        assert_eq!(cleared.status, 200, "{cleared:?}");
        home = gate.kill().await;
    }
    home.verified().await;
    let records = home.records().await;
    assert_eq!(of_kind(&records, "kill.set").len(), 5);
}
