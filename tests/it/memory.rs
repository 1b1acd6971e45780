//! Everything peers have the gateway hold is charged to one budget, by the budget's own accounts: catalogs, sessions, names
//! of clients.

use std::sync::atomic::{AtomicUsize, Ordering};

use keepgate_tests::{Answer, Client, FakeServer, Say, TestGateway, upstream::behave};
use serde_json::{Value, json};

const MIB: usize = 1024 * 1024;
/// Memory a session is charged for by itself, and room for messages that are on their way.
const SESSION: usize = 64 * 1024;

fn left(gateway: &TestGateway) -> usize {
    gateway.gateway.shared().memory.left().expect("a bound")
}

/// Waits until no more than `bytes` of `whole` are taken: messages are given back a moment after their answer.
async fn takes_at_most(gateway: &TestGateway, whole: usize, bytes: usize) {
    let settled = async {
        while whole - left(gateway) > bytes {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), settled)
        .await
        .unwrap_or_else(|_| panic!("{} bytes are taken, not {bytes}", whole - left(gateway)));
}

/// A server whose list of tools is made by `list`, from the cursor.
async fn server(list: impl Fn(Option<&str>) -> Value + Send + Sync + 'static) -> FakeServer {
    FakeServer::start(move |heard| {
        let message = heard.json();
        if message["method"] == "tools/list" {
            let result = list(message["params"]["cursor"].as_str());
            return Say::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
        }
        let other = || {
            let result = json!({"content": [{"type": "text", "text": "done"}]});
            Say::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
        };
        behave(heard).unwrap_or_else(other)
    })
    .await
}

fn tools(count: usize, prefix: &str, annotations: &Value) -> Vec<Value> {
    let tool = |number| {
        json!({"name": format!("{prefix}{number}"), "inputSchema": {"type": "object"},
            "annotations": annotations})
    };
    (0..count).map(tool).collect()
}

async fn list(client: &Client, cursor: Option<&str>) -> Answer {
    let params = cursor.map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
    client.ask("tools/list", params).await
}

/// Pages of many small tools, and of fewer large ones: each meets its own limit, and nothing of it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catalogs_without_end_are_refused_by_name_and_given_back() {
    let large = json!({"title": "x".repeat(4096)});
    for (count, annotations, limit) in [(500, json!({}), "10000"), (50, large, "16 MiB")] {
        let page = AtomicUsize::new(0);
        let server = server(move |_| {
            let prefix = format!("p{}-", page.fetch_add(1, Ordering::Relaxed));
            json!({"tools": tools(count, &prefix, &annotations), "nextCursor": prefix})
        })
        .await;
        let gateway = TestGateway::http(&server.url()).start().await;
        let whole = left(&gateway);
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let mut cursor: Option<String> = None;
        let mut pages = 0;
        let refused = loop {
            let answer = list(&client, cursor.as_deref()).await;
            if answer.code().is_some() {
                break answer;
            }
            cursor = answer.json()["result"]["nextCursor"]
                .as_str()
                .map(str::to_owned);
            pages += 1;
            assert!(pages < 200, "no end of pages");
            assert!(whole - left(&gateway) < 20 * MIB);
        };
        assert_eq!(refused.code().as_deref(), Some("upstream_invalid"));
        assert!(
            refused.json().to_string().contains(limit),
            "{}",
            refused.json()
        );
        assert!(pages >= 4, "{pages}");
        takes_at_most(&gateway, whole, SESSION).await;
        // A call asks for the list by itself, and ends as well.
        let answer = client.call("absent", json!({})).await;
        assert!(answer.code().is_some(), "{}", answer.json());
        takes_at_most(&gateway, whole, SESSION).await;
        client.send("DELETE", "").await;
        takes_at_most(&gateway, whole, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_catalogs_are_charged_once() {
    let server = server(|cursor| match cursor {
        None => {
            json!({"tools": tools(400, "a", &json!({"readOnlyHint": true})), "nextCursor": "b"})
        }
        Some(_) => json!({"tools": tools(400, "b", &json!({"readOnlyHint": true}))}),
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let whole = left(&gateway);
    let mut clients = Vec::new();
    let mut one = 0;
    for number in 0..12 {
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        for cursor in [None, Some("b")] {
            assert_eq!(list(&client, cursor).await.code(), None);
        }
        clients.push(client);
        if number == 0 {
            takes_at_most(&gateway, whole, 4 * MIB).await;
            one = whole - left(&gateway);
            assert!(one > 800 * 1024, "a catalog is charged for: {one}");
        }
    }
    takes_at_most(&gateway, whole, one + clients.len() * SESSION).await;
    for client in &clients {
        assert_eq!(client.call("a7", json!({})).await.code(), None);
        client.send("DELETE", "").await;
    }
    takes_at_most(&gateway, whole, 0).await;
}

/// A server that shows each session another catalog takes half of the memory at most; everybody else goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catalogs_leave_room_for_calls() {
    let shown = AtomicUsize::new(0);
    let server = server(move |_| {
        let number = shown.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            return json!({"tools": tools(1, "echo", &json!({}))});
        }
        let annotations = json!({"title": "x".repeat(16 * 1024)});
        json!({"tools": tools(60, &format!("s{number}-"), &annotations)})
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let whole = left(&gateway);
    let first = Client::new(gateway.addr).initialize("2025-11-25").await;
    assert_eq!(list(&first, None).await.code(), None);
    let mut refused = None;
    for _ in 0..40 {
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let answer = list(&client, None).await;
        if answer.code().is_some() {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a catalog too many");
    assert_eq!(refused.code().as_deref(), Some("memory_full"));
    assert!(
        refused.json().to_string().contains("limits.memory"),
        "{}",
        refused.json()
    );
    takes_at_most(&gateway, whole, whole / 2 + 40 * SESSION).await;
    assert_eq!(first.call("echo0", json!({})).await.code(), None);
}

#[tokio::test]
async fn names_of_clients_are_bounded_by_name() {
    let server = server(|_| json!({"tools": []})).await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let initialize = |info: Value| {
        let client = Client::new(gateway.addr);
        async move {
            let params =
                json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info});
            let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
            client.post(body.to_string()).await
        }
    };
    for member in ["name", "version", "title"] {
        for (length, code) in [
            (256, None),
            (257, Some("params_invalid")),
            (900_000, Some("params_invalid")),
        ] {
            let mut info = json!({"name": "agent", "version": "1"});
            info[member] = "x".repeat(length).into();
            let answer = initialize(info).await;
            assert_eq!(answer.code().as_deref(), code, "{member} {length}");
            if code.is_some() {
                let text = answer.json().to_string();
                assert!(
                    text.contains(&format!("clientInfo.{member}")) && text.contains("256"),
                    "{text}"
                );
            }
        }
    }
}
