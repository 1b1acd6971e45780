//! Streams without end: what brings no message ends, and what brings messages leaves room for others.

use keepgate_tests::{Events, Say, upstream::said};
use serde_json::json;

use super::{hostile, outcome};

const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"}}"#;

#[tokio::test]
async fn a_stream_that_brings_no_message_ends_with_a_stable_code() {
    for piece in ["\n", ": here\r\n", "event: x\ndata: {}\n\n", "id: 1\n\n"] {
        let flood = piece.repeat(64 * 1024 / piece.len()).into_bytes();
        let (server, gateway, client) =
            hostile(move |_| vec![Say::sse(), Say::Flood(flood.clone())]).await;
        let messages = Events::of(client.open("POST", CALL).await).messages().await;
        assert_eq!(messages.len(), 1, "{piece:?}");
        assert_eq!(
            messages[0]["error"]["data"]["code"], "upstream_flood",
            "{piece:?}: {messages:?}"
        );
        server.is_hung_up_on(1).await;
        assert_eq!(
            outcome(&gateway).await["refusal"],
            "upstream_flood",
            "{piece:?}"
        );
    }
}

/// One worker for the gateway, the flooding server and everybody else: whoever does not let go of it stops the test.
#[tokio::test]
async fn streams_of_tiny_messages_leave_their_worker_to_others() {
    const STREAMS: usize = 4;
    let (server, _gateway, client) = hostile(|heard| {
        let call = heard.json();
        if call["params"]["name"] != "delete" {
            return Say::json(&said(&call["id"], "done"));
        }
        let event = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1}}\n\n";
        vec![Say::sse(), Say::Flood(event.repeat(512).into_bytes())]
    })
    .await;
    let flooding =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "delete"}});
    let readers: Vec<_> = (0..STREAMS)
        .map(|_| {
            let (client, body) = (client.clone(), flooding.to_string());
            tokio::spawn(async move {
                let mut events = Events::of(client.open("POST", body).await);
                while events.message().await.is_some() {}
            })
        })
        .collect();
    while server.heard_of("tools/call").len() < STREAMS {
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        let answer = client.call("echo", json!({})).await;
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
    }
    for reader in readers {
        assert!(!reader.is_finished(), "it floods to the end");
        reader.abort();
    }
}
