//! Longest lives of calls and streams, whatever their server sends. The clock is the test's: it makes them older.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use keepgate_gateway::limit::Breaker;
use keepgate_tests::{
    Client, Events, FakeServer, Gate, Say, TestGateway,
    upstream::{behave, said},
};
use serde_json::{Value, json};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"delete"}}"#;

/// A message that belongs to no call, as servers send it on any stream.
fn logged() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "here"}})
}

/// A server that streams to `delete`, listens to `GET`, and answers `echo` when the gate is open; all but the last without
/// an end. One failure opens the breaker, and one call of each caller runs at a time.
async fn start(gate: &Gate) -> (FakeServer, TestGateway, Client) {
    let held = gate.clone();
    let server = FakeServer::start(move |heard| {
        let call = heard.json();
        match (heard.verb.as_str(), call["params"]["name"].as_str()) {
            ("GET", _) | (_, Some("delete")) => {
                vec![Say::sse(), Say::event(&logged()), Say::Hang]
            }
            (_, Some("echo")) => {
                let answer = Say::json(&said(&call["id"], "done"));
                [vec![Say::Until(held.clone())], answer].concat()
            }
            _ if heard.method() == "subscriptions/listen" => vec![Say::sse(), Say::Hang],
            _ => behave(heard).unwrap_or_default(),
        }
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| {
            let one = NonZeroU32::MIN;
            settings.limits.breaker = Some(Breaker {
                failures: one,
                open_for: 60 * MINUTE,
            });
            settings.limits.concurrency.caller = Some(NonZeroUsize::MIN);
        })
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    (server, gateway, client)
}

/// Waits until so many calls are known to have lost their clients and are `count`.
async fn running(gateway: &TestGateway, count: usize) {
    while gateway.gateway.shared().kill.running() != count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The server is not taken for a failed one, and the caller's place is free.
async fn goes_on(gate: &Gate, client: &Client) {
    gate.open_once();
    let answer = client.call("echo", json!({})).await;
    assert!(
        String::from_utf8_lossy(&answer.body).contains("done"),
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
}

#[tokio::test]
async fn a_call_ends_at_its_longest_life_and_gives_its_place_back() {
    let gate = Gate::default();
    let (server, gateway, client) = start(&gate).await;
    let mut stream = Events::of(client.open("POST", CALL).await);
    assert_eq!(stream.message().await, Some(logged()));
    assert_eq!(gateway.gateway.age_calls(60 * MINUTE - SECOND), 0);
    assert_eq!(gateway.gateway.age_calls(SECOND), 1);
    let messages = stream.messages().await;
    assert_eq!(messages[0]["error"]["data"]["code"], "call_expired");
    server.is_hung_up_on(1).await;
    goes_on(&gate, &client).await;

    // One whose answer has not even begun.
    let waits = client.clone();
    let waiting = tokio::spawn(async move { waits.call("echo", json!({})).await });
    running(&gateway, 1).await;
    assert_eq!(gateway.gateway.age_calls(60 * MINUTE), 1);
    let answer = waiting.await.unwrap();
    assert_eq!(answer.code().as_deref(), Some("call_expired"));
    goes_on(&gate, &client).await;
}

#[tokio::test]
async fn a_call_whose_client_left_ends_before_and_gives_its_place_back() {
    let gate = Gate::default();
    let (server, gateway, client) = start(&gate).await;
    let mut stream = Events::of(client.open("POST", CALL).await);
    assert_eq!(stream.message().await, Some(logged()));
    // While the client is there the shorter life does not count.
    assert_eq!(gateway.gateway.age_calls(10 * MINUTE), 0);
    drop(stream);
    // Its client has left once the connection is gone.
    while gateway.gateway.age_calls(SECOND) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.is_hung_up_on(1).await;
    running(&gateway, 0).await;
    goes_on(&gate, &client).await;
}

#[tokio::test]
async fn a_listening_stream_ends_gracefully_at_its_longest_life() {
    let gate = Gate::default();
    let (server, gateway, client) = start(&gate).await;
    let mut stream = Events::of(client.open("GET", "").await);
    assert_eq!(stream.message().await, Some(logged()));
    assert_eq!(gateway.gateway.age_calls(24 * 60 * MINUTE - SECOND), 0);
    assert_eq!(gateway.gateway.age_calls(SECOND), 1);
    assert!(stream.messages().await.is_empty(), "it owes nothing");
    server.is_hung_up_on(1).await;
    goes_on(&gate, &client).await;
}

#[tokio::test]
async fn a_subscription_ends_with_its_result_at_its_longest_life() {
    let gate = Gate::default();
    let (server, gateway, client) = start(&gate).await;
    let meta = keepgate_tests::client::modern_meta();
    let params = json!({"_meta": meta, "notifications": {"toolsListChanged": true}});
    let body =
        json!({"jsonrpc": "2.0", "id": "s", "method": "subscriptions/listen", "params": params});
    let modern = Client::new(gateway.addr).modern("subscriptions/listen", None);
    let stream = Events::of(modern.open("POST", body.to_string()).await);
    server
        .hears(|heard| heard.method() == "subscriptions/listen")
        .await;
    running(&gateway, 1).await;
    assert_eq!(gateway.gateway.age_calls(24 * 60 * MINUTE), 1);
    let messages = stream.messages().await;
    let last = &messages[messages.len() - 1];
    assert_eq!(last["id"], "s");
    assert_eq!(
        last["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "s"
    );
    server.is_hung_up_on(1).await;
    goes_on(&gate, &client).await;
}

/// The end of a stream, whoever brings it about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Drain,
    Credential,
    Server,
}

/// A server whose streams say one thing, and end after it if they shall.
async fn streams(ends: bool) -> FakeServer {
    FakeServer::start(move |heard| {
        let method = heard.method();
        if !matches!(&*method, "subscriptions/listen" | "tools/call") {
            return keepgate_tests::upstream::behave(heard).unwrap_or_default();
        }
        let mut says = vec![Say::sse()];
        if method == "tools/call" {
            says.push(Say::event(&logged()));
        }
        says.push(if ends { Say::Close } else { Say::Hang });
        says
    })
    .await
}

#[tokio::test]
async fn streams_that_are_ended_say_why_and_subscriptions_end_in_order() {
    for (end, method, code) in [
        (End::Drain, "subscriptions/listen", None),
        (End::Credential, "subscriptions/listen", None),
        (End::Server, "subscriptions/listen", None),
        (End::Credential, "tools/call", Some("call_expired")),
        (End::Server, "tools/call", Some("upstream_invalid")),
    ] {
        let server = streams(end == End::Server).await;
        let gateway = TestGateway::http(&server.url()).keys().start().await;
        let key = gateway.key_for(keepgate_authn::KeyRequest {
            subject: "alice".to_owned(),
            expires: (end == End::Credential)
                .then(|| std::time::SystemTime::now() + Duration::from_secs(3)),
            ..Default::default()
        });
        let name = (method == "tools/call").then_some("delete");
        let client = Client::new(gateway.addr)
            .header("authorization", &format!("Bearer {key}"))
            .modern(method, name);
        let meta = keepgate_tests::client::modern_meta();
        let params = match name {
            Some(name) => json!({"_meta": meta, "name": name, "arguments": {}}),
            None => json!({"_meta": meta, "notifications": {"toolsListChanged": true}}),
        };
        let body = json!({"jsonrpc": "2.0", "id": "s", "method": method, "params": params});
        let stream = Events::of(client.open("POST", body.to_string()).await);
        if end == End::Drain {
            gateway.gateway.drain();
        }
        let messages = tokio::time::timeout(keepgate_tests::PATIENCE, stream.messages());
        let messages = messages
            .await
            .unwrap_or_else(|_| panic!("{end:?} {method}"));
        let last = &messages[messages.len() - 1];
        assert_eq!(last["id"], "s", "{end:?}");
        match code {
            None => {
                let id = &last["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
                assert_eq!(id, "s", "{end:?}: {last}");
                assert_eq!(last["result"]["resultType"], "complete");
            }
            Some(code) => {
                let refusal = last.pointer("/result/_meta/dev.keepgate~1refusal/code");
                let refusal = refusal.unwrap_or_else(|| &last["error"]["data"]["code"]);
                assert_eq!(refusal, code, "{end:?}: {last}");
            }
        }
    }
}

#[tokio::test]
async fn one_server_cannot_lock_a_caller_out_of_another() {
    let hangs =
        FakeServer::with_tools(|_| vec![Say::sse(), Say::event(&logged()), Say::Hang]).await;
    let works = FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await;
    let gateway = TestGateway::http(&hangs.url())
        .with(|settings| {
            let mut other = settings.servers.values().next().unwrap().clone();
            other.upstream = keepgate_gateway::settings::Upstream::Http {
                transport: keepgate_gateway::settings::HttpTransport::Streamable,
                url: works.url().parse().unwrap(),
                way: Default::default(),
                headers: Vec::new(),
            };
            let name = keepgate_call::ServerName::parse("other").unwrap();
            settings.servers.insert(name, other);
            settings.limits.concurrency.caller = NonZeroUsize::new(3);
            settings.limits.concurrency.caller_per_server = NonZeroUsize::new(2);
        })
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = Events::of(client.open("POST", CALL).await);
        assert_eq!(stream.message().await, Some(logged()));
        held.push(stream);
    }
    let refused = client.call("delete", json!({})).await;
    assert_eq!(refused.code().as_deref(), Some("concurrency_limited"));
    assert!(
        String::from_utf8_lossy(&refused.body).contains("limits.concurrency.caller_per_server")
    );
    let other = Client::new(gateway.addr).path("/other/mcp");
    let answer = other
        .initialize("2025-11-25")
        .await
        .call("echo", json!({}))
        .await;
    assert!(
        String::from_utf8_lossy(&answer.body).contains("done"),
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
}
