//! Habits of claude.ai as a client: the same id for two requests at once, `notifications/initialized` without the session's id,
//! one session for several chats.

use keepgate_tests::{
    Client, Events, FakeServer, Gate, Heard, Say, TestGateway,
    upstream::{behave, said},
};
use serde_json::{Value, json};

const REVISION: &str = "2025-06-18";

/// A gateway before a server that answers a call with its argument once the gate of that argument is open.
async fn gateway(gates: [Gate; 2]) -> (FakeServer, TestGateway) {
    let server = FakeServer::start(move |heard: &Heard| {
        if heard.verb == "GET" {
            return vec![Say::sse(), Say::Hang];
        }
        behave(heard).unwrap_or_else(|| {
            let message = heard.json();
            let which = &message["params"]["arguments"]["chat"];
            let text = format!("for chat {which}");
            let gate = usize::try_from(which.as_u64().unwrap_or_default()).unwrap_or_default();
            let mut steps = vec![Say::Until(gates[gate].clone())];
            steps.extend(Say::json(&said(&message["id"], &text)));
            steps
        })
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    (server, gateway)
}

/// A call under the id that every chat begins with.
fn call(chat: u64) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"chat": chat}}}).to_string()
}

fn text(answer: &Value) -> (&Value, &str) {
    let text = answer["result"]["content"][0]["text"].as_str();
    (&answer["id"], text.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_id_at_once_get_their_own_answers() {
    let gates = [Gate::default(), Gate::default()];
    let (server, gateway) = gateway(gates.clone()).await;
    let client = Client::new(gateway.addr).initialize(REVISION).await;
    let posted = [call(0), call(1)].map(|body| {
        let client = client.clone();
        tokio::spawn(async move { client.post(body).await })
    });
    // Both are at the server before either is answered, and the later one is answered first.
    server
        .hears(|heard| heard.body.contains("\"chat\":1"))
        .await;
    server
        .hears(|heard| heard.body.contains("\"chat\":0"))
        .await;
    gates[1].open();
    let [first, second] = posted;
    let second = second.await.unwrap();
    assert_eq!(
        (second.status, text(&second.messages()[0])),
        (200, (&json!(1), "for chat 1"))
    );
    gates[0].open();
    let first = first.await.unwrap();
    assert_eq!(
        (first.status, text(&first.messages()[0])),
        (200, (&json!(1), "for chat 0"))
    );
    let ids: Vec<Value> = server
        .heard_of("tools/call")
        .iter()
        .map(|heard| heard.json()["id"].clone())
        .collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn initialized_without_the_id_of_the_session_harms_nobody() {
    let gates = [Gate::default(), Gate::default()];
    gates[0].open();
    let (server, gateway) = gateway(gates).await;
    let outside = Client::new(gateway.addr);
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": "claude-ai", "version": "1"}}});
    let opened = outside.post(hello.to_string()).await;
    let session = opened
        .header("mcp-session-id")
        .expect("a session")
        .to_owned();
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    for client in [
        outside.clone(),
        outside.clone().header("mcp-protocol-version", REVISION),
    ] {
        assert_eq!(client.post(ready.clone()).await.status, 202);
    }
    // It opens nothing and reaches no session; the session itself works.
    assert!(
        server
            .heard_of("notifications/initialized")
            .iter()
            .all(|heard| heard.header("mcp-session-id").is_some())
    );
    let within = outside
        .header("mcp-session-id", &session)
        .header("mcp-protocol-version", REVISION);
    let answer = within.post(call(0)).await;
    assert_eq!(
        (answer.status, text(&answer.messages()[0]).1),
        (200, "for chat 0")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_serves_several_chats() {
    let gates = [Gate::default(), Gate::default()];
    let (_server, gateway) = gateway(gates.clone()).await;
    let client = Client::new(gateway.addr).initialize(REVISION).await;
    // Each chat reports that it is ready, opens a stream and counts its ids from the beginning, over connections of its own.
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    let mut streams = Vec::new();
    for _chat in 0..2 {
        assert_eq!(client.post(ready.clone()).await.status, 202);
        let stream = client
            .clone()
            .header("accept", "text/event-stream")
            .open("GET", "")
            .await;
        assert_eq!(stream.status(), 200);
        streams.push(Events::of(stream));
    }
    for round in 0..3 {
        let posted = [call(0), call(1)].map(|body| {
            let client = client.clone();
            tokio::spawn(async move { client.post(body).await })
        });
        for gate in &gates {
            gate.open_once();
        }
        for (chat, posted) in posted.into_iter().enumerate() {
            let answer = posted.await.unwrap();
            assert_eq!(answer.status, 200, "{round}");
            assert_eq!(
                text(&answer.messages()[0]).1,
                format!("for chat {chat}"),
                "{round}"
            );
        }
    }
    // The end of a chat that ends the session is the end for the others too, which begin again.
    assert!(client.send("DELETE", "").await.status < 300);
    assert_eq!(client.post(call(0)).await.status, 404);
}
