//! Resumed streams of a real server: the SDK's own event store, and clients that use one id for several calls.

use std::net::SocketAddr;

use keepgate_tests::{Client, Events, TestGateway, client::field};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::process::{run, serve};

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

/// The connection of a call is cut after its first event; the SDK's server refuses a second stream of one call while it
/// believes in the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_connection_was_cut_is_resumed_on_another() {
    let (_server, upstream) = serve("store", &[]).await;
    let gateway = TestGateway::http(&upstream).policy(POLICY).start().await;
    for is_noticed in [true, false] {
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let mut cut = Events::of(client.open("POST", call(&json!(1), "slow")).await);
        let first = cut.block().await.expect("a priming event");
        let event_id = field(&first, "id").expect("an event id").to_owned();
        // A connection that ends without a word stays open for the gateway.
        let forgotten = (!is_noticed).then_some(cut);
        let resuming = client.clone().header("last-event-id", &event_id);
        let resumed = resuming.open("GET", "").await;
        assert_eq!(resumed.status(), 200, "noticed: {is_noticed}");
        let mut resumed = Events::of(resumed);
        if let Some(forgotten) = forgotten {
            assert_eq!(forgotten.messages().await, Vec::<Value>::new());
        }
        called(&client, &json!(2), "release").await;
        let answer = resumed.message().await.expect("the answer");
        assert_eq!(
            (&answer["id"], &answer["result"]["content"][0]["text"]),
            (&json!(1), &json!("slow"))
        );
        // Cut again on the resumed connection, with the answer out already: it is replayed under the same duty.
        let again = resuming.open("GET", "").await;
        let answer = Events::of(again).message().await.expect("the answer");
        assert_eq!(answer["id"], 1);
    }
}

/// A port that passes bytes on to `target`, and cuts each connection a tool is called on once the first event with an id has
/// passed.
async fn cutting(target: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(target).await.unwrap();
            tokio::spawn(cut(client, server));
        }
    });
    address
}

async fn cut(mut client: TcpStream, mut server: TcpStream) {
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut calls = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let read = read.unwrap_or(0);
                let text = String::from_utf8_lossy(&up[..read]).into_owned();
                calls |= text.contains("tools/call");
                if read == 0 || server.write_all(&up[..read]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let read = read.unwrap_or(0);
                let text = String::from_utf8_lossy(&down[..read]).into_owned();
                if read == 0 || client.write_all(&down[..read]).await.is_err() {
                    return;
                }
                if calls && text.lines().any(|line| line.starts_with("id: ")) {
                    // Both ends learn of it at once.
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_sdks_get_answers_over_connections_that_are_cut() {
    let (_server, upstream) = serve("store", &[]).await;
    let gateway = TestGateway::http(&upstream).policy(POLICY).start().await;
    let direct: SocketAddr = upstream
        .trim_start_matches("http://")
        .trim_end_matches("/mcp")
        .parse()
        .unwrap();
    for client in ["ts-resume.mjs", "py_resume.py"] {
        for (way, target, path) in [
            ("direct", direct, "/mcp"),
            ("through the gateway", gateway.addr, "/up/mcp"),
        ] {
            let url = format!("http://{}{path}", cutting(target).await);
            let answers = run(client, &[&url], &[]).await;
            assert_eq!(
                answers.stdout.trim(),
                "4 of 4",
                "{client} {way}: {}",
                answers.stderr
            );
        }
    }
}
