//! Resumed streams of a real server: the SDK's own event store, and clients that use one id for several calls.

use keepgate_tests::{Client, Events, TestGateway, client::field};
use serde_json::{Value, json};

use super::process::serve;

const SECRET: &str = "078-05-1120";
const POLICY: &str = "package mcp.authz\n\nallow contains \"all\"\n\nredact contains {\"field\": \"SSN\"} if input.tool.name == \"account\"\nmax_bytes contains 100000 if input.tool.name == \"slow\"\n";

fn call(id: &Value, tool: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool}})
        .to_string()
}

/// Calls and reads to the end: the first event id, and all messages.
async fn called(client: &Client, id: &Value, tool: &str) -> (String, Vec<Value>) {
    let mut events = Events::of(client.open("POST", call(id, tool)).await);
    let first = events.block().await.expect("an event");
    let event_id = field(&first, "id").expect("an event id").to_owned();
    (event_id, events.messages().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_answer_is_never_had_under_the_id_of_another_call() {
    let (_server, upstream) = serve("store", &[]).await;
    let gateway = TestGateway::http(&upstream).policy(POLICY).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let (event_id, answer) = called(&client, &json!(6), "account").await;
    assert!(!format!("{answer:?}").contains(SECRET), "{answer:?}");
    let mut pending = Events::of(client.open("POST", call(&json!(6), "slow")).await);
    pending.block().await.expect("a priming event");
    let resuming = client.clone().header("last-event-id", &event_id);
    let replayed = Events::of(resuming.open("GET", "").await).message().await;
    let replayed = replayed.expect("the stored answer");
    assert!(!replayed.to_string().contains(SECRET), "{replayed}");
    assert_eq!(replayed["id"], 6);
    called(&client, &json!("x"), "release").await;
    let answer = pending.message().await.expect("its own answer");
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&json!(6), &json!("slow"))
    );
}
