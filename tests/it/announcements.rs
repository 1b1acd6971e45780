//! Announcements of lists that show something else now: by policy, configuration or a kill of a tool.

use keepgate_store::kill::{Kill, Scope, Wish};
use keepgate_tests::{
    Client, Events, FakeServer, Say, TestGateway, client::modern_meta, upstream::behave,
};
use serde_json::{Value, json};

/// A server with streams of its own, whose tools can change and whose prompts cannot.
async fn server() -> FakeServer {
    FakeServer::start(|heard| {
        let message = heard.json();
        if heard.verb == "GET" {
            return vec![Say::sse(), Say::Hang];
        }
        if message["method"] == "subscriptions/listen" {
            let meta = json!({"io.modelcontextprotocol/subscriptionId": message["id"]});
            let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": {"notifications": message["params"]["notifications"], "_meta": meta}});
            return vec![Say::sse(), Say::event(&acknowledged), Say::Hang];
        }
        behave(heard).unwrap_or_default()
    })
    .await
}

const CHANGED: &str = "notifications/tools/list_changed";

fn tool_kill(name: &str) -> Kill {
    let wish = Wish {
        scope: Scope::parse("tool", Some(name)).expect("a scope"),
        tenant: None,
        reason: "a test".to_owned(),
        by: "a test".to_owned(),
        lasts: None,
    };
    Kill::new(wish, std::time::SystemTime::now()).expect("a kill")
}

async fn listening(client: &Client) -> Events {
    let stream = client.open("GET", "").await;
    assert_eq!(stream.status(), 200);
    Events::of(stream)
}

async fn heard(events: &mut Events) -> Value {
    events.message().await.expect("an announcement")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_list_is_announced_where_the_server_declares_that_it_can_change() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let shared = gateway.gateway.shared();
    tokio::spawn(gateway.gateway.announce());
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let mut first = listening(&client).await;
    let mut second = listening(&client).await;
    let kill = shared.kill.set(tool_kill("up/echo")).kill;
    // One of the streams has it, and the server declares tools alone.
    let message = tokio::select! {
        message = heard(&mut first) => message,
        message = heard(&mut second) => message,
    };
    assert_eq!(message, json!({"jsonrpc": "2.0", "method": CHANGED}));
    // Many changes are announced once, a second later; those of other servers and kills that hide nothing never.
    for _ in 0..5 {
        shared.changes.all();
    }
    shared.kill.set(tool_kill("other/echo"));
    shared.kill.clear(&kill.id);
    let next = async |first: &mut Events, second: &mut Events| {
        tokio::select! {
            message = heard(first) => message,
            message = heard(second) => message,
        }
    };
    assert_eq!(next(&mut first, &mut second).await["method"], CHANGED);
    // The clear may come a look later than the rest; more than that are not announced.
    let mut more = 0;
    let quiet = std::time::Duration::from_millis(1500);
    while tokio::time::timeout(quiet, next(&mut first, &mut second))
        .await
        .is_ok()
    {
        more += 1;
    }
    assert!(more <= 1, "{more}");
    // A change while nobody listens is announced on the next stream.
    drop((first, second));
    shared.changes.all();
    let mut later = listening(&client).await;
    assert_eq!(heard(&mut later).await["method"], CHANGED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_hears_of_the_lists_it_asked_for() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let shared = gateway.gateway.shared();
    let client = Client::new(gateway.addr).modern("subscriptions/listen", None);
    for (wanted, hears) in [
        (json!({"toolsListChanged": true}), true),
        (json!({"promptsListChanged": false}), false),
    ] {
        let body = json!({"jsonrpc": "2.0", "id": "mine", "method": "subscriptions/listen",
            "params": {"notifications": wanted, "_meta": modern_meta()}});
        let mut events = Events::of(client.open("POST", body.to_string()).await);
        let acknowledged = heard(&mut events).await;
        assert_eq!(
            acknowledged["method"],
            "notifications/subscriptions/acknowledged"
        );
        shared.changes.all();
        let patience = std::time::Duration::from_millis(if hears { 30_000 } else { 1_500 });
        let announced = tokio::time::timeout(patience, events.message()).await;
        assert_eq!(announced.is_ok(), hears, "{announced:?}");
        if let Ok(announced) = announced {
            let id = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": "mine"}});
            assert_eq!(
                announced,
                Some(json!({"jsonrpc": "2.0", "method": CHANGED, "params": id}))
            );
        }
    }
}
