//! Circuit breakers: one caller's failures are its own, until something speaks for the server.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use keepgate_gateway::{limit::Breaker, settings::Settings};
use keepgate_tests::{
    Answer, Client, FakeServer, Say, TestGateway,
    upstream::{behave, said},
};
use serde_json::json;

fn three(settings: &mut Settings) {
    settings.limits.breaker = Some(Breaker {
        failures: NonZeroU32::new(3).expect("not zero"),
        open_for: Duration::from_secs(3600),
    });
    settings.limits.denial_breaker = None;
}

fn bearer(gateway: &TestGateway, subject: &str) -> Client {
    let key = gateway.key(subject, &[]);
    Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
}

fn code(answer: &Answer) -> String {
    answer.code().unwrap_or_else(|| "passed".to_owned())
}

/// A server that does `what` when its tool `delete` is called, and behaves otherwise.
async fn server(what: impl Fn() -> Vec<Say> + Send + Sync + 'static) -> FakeServer {
    FakeServer::with_tools(move |heard| {
        if heard.json()["params"]["name"] == "delete" {
            return what();
        }
        Say::json(&said(&heard.json()["id"], "hello"))
    })
    .await
}

#[tokio::test]
async fn one_callers_failures_open_no_breaker_but_its_own() {
    type Failure = (&'static str, fn() -> Vec<Say>);
    let failures: [Failure; 3] = [
        ("resets", || vec![Say::Close]),
        ("hangs", || vec![Say::Hang]),
        ("stops halfway", || {
            vec![Say::text("HTTP/1.1 200 OK\r\ncontent-"), Say::Close]
        }),
    ];
    for (what, failure) in failures {
        let server = server(failure).await;
        let gateway = TestGateway::http(&server.url())
            .keys()
            .with(three)
            .timeouts(|timeouts| timeouts.request = Duration::from_millis(150))
            .start()
            .await;
        let (alice, bob) = (bearer(&gateway, "alice"), bearer(&gateway, "bob"));
        assert_eq!(code(&bob.call_modern("echo", json!({})).await), "passed");
        for _ in 0..3 {
            let failed = code(&alice.call_modern("delete", json!({})).await);
            assert!(failed.starts_with("upstream_"), "{what}: {failed}");
        }
        let refused = alice.call_modern("echo", json!({})).await;
        assert_eq!(code(&refused), "upstream_circuit_open", "{what}");
        // The gateway has probed the server meanwhile, and found it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        for client in [&bob, &bearer(&gateway, "carol")] {
            let answer = client.call_modern("echo", json!({})).await;
            assert_eq!(code(&answer), "passed", "{what}");
        }
        let breakers = &gateway.gateway.shared().budgets.servers;
        assert_eq!((breakers.open(), breakers.open_for_callers()), (0, 1));
    }
}

#[tokio::test]
async fn a_second_caller_that_fails_opens_it_for_all() {
    let server = server(|| vec![Say::Close]).await;
    let gateway = TestGateway::http(&server.url())
        .keys()
        .with(three)
        .start()
        .await;
    let carol = bearer(&gateway, "carol");
    assert_eq!(code(&carol.call_modern("echo", json!({})).await), "passed");
    for subject in ["alice", "bob"] {
        let client = bearer(&gateway, subject);
        assert_eq!(code(&carol.call_modern("echo", json!({})).await), "passed");
        for _ in 0..3 {
            client.call_modern("delete", json!({})).await;
        }
    }
    let refused = carol.call_modern("echo", json!({})).await;
    assert_eq!(code(&refused), "upstream_circuit_open");
}

#[tokio::test]
async fn a_probe_that_cannot_connect_opens_it_for_all() {
    // A port where somebody listened a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    drop(listener);
    let gateway = TestGateway::http(&url).keys().with(three).start().await;
    let (alice, bob) = (bearer(&gateway, "alice"), bearer(&gateway, "bob"));
    let failed = bob.ask_modern("tools/list", None, json!({})).await;
    assert_eq!(code(&failed), "upstream_unreachable");
    for _ in 0..3 {
        alice.ask_modern("tools/list", None, json!({})).await;
    }
    // Bob has failed once: it is the probe that proves the server gone.
    let opened = async {
        while gateway.gateway.shared().budgets.servers.open() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let opened = tokio::time::timeout(Duration::from_secs(10), opened);
    opened.await.expect("a probe");
    let refused = bob.ask_modern("tools/list", None, json!({})).await;
    assert_eq!(code(&refused), "upstream_circuit_open");
}

#[tokio::test]
async fn a_probe_sends_nothing() {
    let bytes = Arc::new(AtomicBool::new(false));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    let endpoint = keepgate_transport::http::client::Client::new(Default::default())
        .expect("a client")
        .endpoint(&url)
        .expect("an endpoint");
    let heard = Arc::clone(&bytes);
    let listening = tokio::spawn(async move {
        use tokio::io::AsyncReadExt as _;
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut all = Vec::new();
        let _end = stream.read_to_end(&mut all).await;
        heard.store(!all.is_empty(), Ordering::SeqCst);
    });
    endpoint.probe().await.expect("it connects");
    listening.await.expect("the end of the connection");
    assert!(!bytes.load(Ordering::SeqCst));
}

#[tokio::test]
async fn what_says_nothing_of_the_server_opens_nothing() {
    // Time of policy's, streams that only listen, and calls their client gave up.
    let slow = FakeServer::start(|heard| match heard.verb.as_str() {
        "GET" => vec![Say::Hang],
        _ if heard.json()["params"]["name"] == "delete" => vec![Say::Hang],
        _ => behave(heard).unwrap_or_else(|| Say::json(&said(&heard.json()["id"], "hello"))),
    })
    .await;
    let policy = "package mcp.authz\n\nallow contains \"all\"\n\ntimeout contains \"1s\" if input.tool.name == \"delete\"\n";
    let gateway = TestGateway::http(&slow.url())
        .policy(policy)
        .with(three)
        .timeouts(|timeouts| timeouts.request = Duration::from_secs(3))
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    for _ in 0..3 {
        let late = client.call("delete", json!({})).await;
        assert_eq!(code(&late), "upstream_timeout");
    }
    assert_eq!(code(&client.call("echo", json!({})).await), "passed");
    let streams = (0..4).map(|_| client.send("GET", ""));
    for answer in futures_util::future::join_all(streams).await {
        assert_eq!(code(&answer), "upstream_timeout");
    }
    assert_eq!(code(&client.call("echo", json!({})).await), "passed");
    for _ in 0..4 {
        let gone = client.modern("tools/call", Some("delete"));
        let body = keepgate_tests::client::modern_call("delete", &json!({})).to_string();
        let call = tokio::spawn(async move { gone.open("POST", body).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        call.abort();
    }
    assert_eq!(code(&client.call("echo", json!({})).await), "passed");
    let breakers = &gateway.gateway.shared().budgets.servers;
    assert_eq!((breakers.open(), breakers.open_for_callers()), (0, 0));
}

#[tokio::test]
async fn calls_that_wait_for_a_servers_list_share_its_failure() {
    const CALLS: usize = 40;
    let server = FakeServer::start(|heard| match heard.method().as_str() {
        "tools/list" => vec![Say::Hang],
        _ => behave(heard).unwrap_or_default(),
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .timeouts(|timeouts| timeouts.request = Duration::from_secs(2))
        .with(|settings| settings.limits.breaker = None)
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let calls = (0..CALLS).map(|_| client.call("echo", json!({})));
    let answers = futures_util::future::join_all(calls).await;
    let late = answers
        .iter()
        .filter(|answer| code(answer) == "upstream_timeout");
    assert_eq!(late.count(), CALLS);
    // One asks for all that are there while it does; a slow machine may bring some in later.
    let lists = server.heard_of("tools/list").len();
    assert!(
        lists <= CALLS / 4,
        "{lists} lists were asked for, one after the other"
    );
}
