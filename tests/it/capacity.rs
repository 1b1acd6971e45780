//! Capacity: sessions and processes are reserved before they are made, and what is idle longest makes room.

use std::{num::NonZeroUsize, time::Duration};

use futures_util::future::join_all;
use keepgate_gateway::settings::Limits;
use keepgate_tests::{
    Answer, Client, Events, FakeServer, Say, TestGateway,
    upstream::{Gate, behave, said},
};
use serde_json::json;

fn many(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("not zero")
}

fn bearer(gateway: &TestGateway, subject: &str) -> Client {
    let key = gateway.key(subject, &[]);
    Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
}

fn initialize() -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}}})
    .to_string()
}

/// Asserts that a session was refused because of `limit`, with the time after which to try again.
fn assert_full(answer: &Answer, limit: &str) {
    let code = answer.code();
    assert_eq!(
        (answer.status, code.as_deref()),
        (429, Some("session_limit"))
    );
    assert_eq!(answer.json()["error"]["data"]["limit"], limit);
    let wait = answer.header("retry-after").expect("Retry-After");
    assert!(wait.parse::<u64>().expect("seconds") > 0);
}

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_sessions_opened_at_once_exactly_the_limit_reaches_the_server() {
    type Change = fn(&mut Limits);
    let of_caller: Change = |limits| limits.sessions_per_caller = many(2);
    let of_all: Change = |limits| limits.sessions = many(2);
    for (limit, change) in [
        ("limits.sessions_per_caller", of_caller),
        ("limits.sessions", of_all),
    ] {
        let gate = Gate::default();
        let slow = gate.clone();
        let server = FakeServer::start(move |heard| {
            let mut said = behave(heard).unwrap_or_default();
            if heard.method() == "initialize" {
                said.insert(0, Say::Until(slow.clone()));
            }
            said
        })
        .await;
        let gateway = TestGateway::http(&server.url())
            .with(|settings| change(&mut settings.limits))
            .start()
            .await;
        let opening = (0..60).map(|_| {
            let client = Client::new(gateway.addr);
            tokio::spawn(async move { client.post(initialize()).await })
        });
        let opening: Vec<_> = opening.collect();
        // Those over the limit are refused while the others are still opening.
        let refused = async {
            while opening.iter().filter(|one| one.is_finished()).count() < 58 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), refused)
            .await
            .expect("58 refusals");
        gate.open();
        let answers: Vec<Answer> = join_all(opening)
            .await
            .into_iter()
            .map(|answer| answer.expect("an answer"))
            .collect();
        let (opened, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((opened.len(), refused.len()), (2, 58), "{limit}");
        for answer in refused {
            assert_full(answer, limit);
        }
        assert_eq!(server.heard_of("initialize").len(), 2, "{limit}");
        assert_eq!(gateway.gateway.shared().sessions.count(), 2, "{limit}");
    }
}

#[tokio::test]
async fn a_session_that_fails_to_open_gives_its_place_back() {
    type Failure = fn() -> Vec<Say>;
    let failures: [(&str, Failure); 4] = [
        ("error", || {
            Say::json(
                &json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": "no"}}),
            )
        }),
        ("status", || {
            Say::http("500 Internal Server Error", "text/plain", "")
        }),
        ("revision", || {
            Say::json(
                &json!({"jsonrpc": "2.0", "id": 1, "result": {"protocolVersion": "1999-01-01"}}),
            )
        }),
        ("closed", || vec![Say::Close]),
    ];
    for (what, failure) in failures {
        let server = FakeServer::start(move |_| failure()).await;
        let gateway = TestGateway::http(&server.url())
            .with(|settings| {
                settings.limits.sessions_per_caller = many(1);
                settings.limits.breaker = None;
            })
            .start()
            .await;
        for _ in 0..3 {
            let answer = Client::new(gateway.addr).post(initialize()).await;
            assert_ne!(answer.status, 429, "{what}");
        }
        assert_eq!(gateway.gateway.shared().sessions.count(), 0, "{what}");
    }
    // A client that leaves while its session opens.
    let server = FakeServer::start(|_| vec![Say::Hang]).await;
    let gateway = TestGateway::http(&server.url())
        .timeouts(|timeouts| timeouts.request = Duration::from_millis(300))
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let opening = tokio::spawn(async move { client.post(initialize()).await });
    server.hears(|heard| heard.method() == "initialize").await;
    assert_eq!(gateway.gateway.shared().sessions.count(), 1);
    opening.abort();
    let given_back = async {
        while gateway.gateway.shared().sessions.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let given_back = tokio::time::timeout(Duration::from_secs(10), given_back);
    given_back.await.expect("the place is given back");
}

/// Choice among three sessions that make room for a fourth: `uses` are the sessions that are called, in that order.
#[tokio::test]
async fn the_session_that_serves_its_caller_least_makes_room() {
    for (uses, goes) in [
        (&[0, 1, 2][..], 0),
        (&[1, 2, 0], 1),
        (&[0, 1, 2, 0, 1], 2),
        // Never used goes before idle longest.
        (&[0, 1], 2),
        (&[0, 2], 1),
        (&[2, 1], 0),
        (&[], 0),
    ] {
        let server = server().await;
        let gateway = TestGateway::http(&server.url())
            .keys()
            .with(|settings| settings.limits.sessions_per_caller = many(3))
            .start()
            .await;
        let bob = bearer(&gateway, "bob").initialize("2025-11-25").await;
        let alice = bearer(&gateway, "alice");
        let tick = || tokio::time::sleep(Duration::from_millis(3));
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(alice.initialize("2025-11-25").await);
            tick().await;
        }
        for &used in uses {
            assert_eq!(held[used].call("echo", json!({})).await.status, 200);
            tick().await;
        }
        let fourth = alice.initialize("2025-11-25").await;
        assert_eq!(fourth.call("echo", json!({})).await.status, 200);
        for (at, session) in held.iter().enumerate() {
            let answer = session.call("echo", json!({})).await;
            let status = if at == goes { 404 } else { 200 };
            assert_eq!(answer.status, status, "{uses:?}: session {at}");
        }
        // The server hears of it, and nobody else pays for it.
        server.hears(|heard| heard.verb == "DELETE").await;
        assert_eq!(bob.call("echo", json!({})).await.status, 200);
        assert_eq!(gateway.gateway.shared().sessions.count(), 4);
    }
}

#[tokio::test]
async fn a_session_with_a_call_or_a_stream_makes_room_for_none() {
    let gate = Gate::default();
    let slow = gate.clone();
    let server = FakeServer::start(move |heard| {
        let id = &heard.json()["id"];
        match (heard.verb.as_str(), heard.method().as_str()) {
            ("GET", _) => vec![Say::sse(), Say::text(": hi\n\n"), Say::Hang],
            (_, "tools/call") => {
                let mut says = vec![Say::Until(slow.clone())];
                says.extend(Say::json(&said(id, "late")));
                says
            }
            _ => behave(heard).unwrap_or_default(),
        }
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| settings.limits.sessions_per_caller = many(2))
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let calling = client.initialize("2025-11-25").await;
    let listening = client.initialize("2025-11-25").await;
    let call = {
        let calling = calling.clone();
        tokio::spawn(async move { calling.call("echo", json!({})).await })
    };
    server.hears(|heard| heard.method() == "tools/call").await;
    let stream = Events::of(listening.open("GET", "").await);
    server.hears(|heard| heard.verb == "GET").await;
    assert_full(
        &client.post(initialize()).await,
        "limits.sessions_per_caller",
    );
    gate.open();
    assert_eq!(call.await.expect("an answer").status, 200);
    // The call is over, the stream is not.
    client.initialize("2025-11-25").await;
    assert_eq!(calling.call("echo", json!({})).await.status, 404);
    assert_eq!(listening.call("echo", json!({})).await.status, 200);
    drop(stream);
}

/// Within the limits, as many streams of one caller are open at once as calls are made, in one session and without:
/// none waits for another, and each brings its own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_streams_of_one_caller_are_open_at_once() {
    const STREAMS: usize = 500;
    let gate = Gate::default();
    let held = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        let call = heard.json();
        let number = call["params"]["arguments"]["number"].to_string();
        let event = format!("data: {}\n\n", said(&call["id"], &number));
        vec![
            Say::sse(),
            Say::Bytes(b": begun\n\n".to_vec()),
            Say::Until(held.clone()),
            Say::Bytes(event.into_bytes()),
        ]
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| {
            settings.limits.in_flight = many(2 * STREAMS);
            settings.limits.streams = many(2 * STREAMS);
            settings.limits.concurrency.caller = NonZeroUsize::new(2 * STREAMS);
            settings.limits.concurrency.caller_per_server = NonZeroUsize::new(2 * STREAMS);
            settings.limits.concurrency.session = NonZeroUsize::new(2 * STREAMS);
        })
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let session = client.initialize("2025-11-25").await;
    let calls = (0..STREAMS).map(|number| {
        let (client, session) = (client.clone(), session.clone());
        tokio::spawn(async move {
            let arguments = json!({"number": number});
            match number % 2 {
                0 => client.call_modern("echo", arguments).await,
                _ => session.call("echo", arguments).await,
            }
        })
    });
    let calls: Vec<_> = calls.collect();
    let all = async {
        while server.heard_of("tools/call").len() < STREAMS {
            let is_early = calls.iter().any(tokio::task::JoinHandle::is_finished);
            assert!(!is_early, "a call is over before its server has answered");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(keepgate_tests::PATIENCE, all)
        .await
        .expect("every call is at the server at once");
    gate.open();
    for (number, answer) in join_all(calls).await.into_iter().enumerate() {
        let answer = answer.expect("a call");
        let message = answer.messages().pop().expect("an answer");
        let text = &message["result"]["content"][0]["text"];
        assert_eq!(*text, number.to_string(), "{message}");
    }
}
