//! Limits: how much passes, who pays for it, and what a fresh session does not bring back.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use futures_util::future::join_all;
use keepgate_gateway::{
    limit::{Breaker, Rate},
    settings::{Limits, ServerLimits, Settings},
};
use keepgate_tests::{
    Answer, Client, Events, FakeServer, Say, TestGateway,
    upstream::{Gate, said},
};
use serde_json::{Value, json};

/// So many at once; the next refill is days away.
fn only(calls: u32) -> Option<Rate> {
    let calls = NonZeroU32::new(calls)?;
    Rate::new(NonZeroU32::MIN, Duration::from_secs(86_400), calls)
}

fn whole(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await
}

fn limits(change: impl FnOnce(&mut Limits)) -> impl FnOnce(&mut Settings) {
    move |settings| change(&mut settings.limits)
}

fn of_server(limits: ServerLimits) -> impl FnOnce(&mut Settings) {
    move |settings| {
        for server in settings.servers.values_mut() {
            server.limits = limits.clone();
        }
    }
}

fn bearer(gateway: &TestGateway, subject: &str) -> Client {
    let key = gateway.key(subject, &[]);
    Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
}

/// What the refusal of a tool call says to machines.
fn refusal(answer: &Answer) -> serde_json::Value {
    answer.json()["result"]["_meta"]["dev.keepgate/refusal"].clone()
}

fn passed(answers: &[Answer]) -> usize {
    let passed = |answer: &&Answer| {
        answer.status == 200 && answer.code().is_none() && refusal(answer).is_null()
    };
    answers.iter().filter(passed).count()
}

async fn burst(clients: &[Client], calls: usize) -> Vec<Answer> {
    let calls = (0..calls).map(|index| clients[index % clients.len()].call("echo", json!({})));
    join_all(calls).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_times_as_many_at_once_exactly_the_limit_passes() {
    const MOST: u32 = 12;
    let server = server().await;
    // `initialize` is the session's first; a list of one page that the gateway asks for costs nothing more than its call.
    let gateway = TestGateway::http(&server.url())
        .with(limits(|limits| limits.rate.session = only(MOST + 1)))
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let calls = usize::try_from(MOST).unwrap();
    let answers = burst(&[client], 10 * calls).await;
    assert_eq!(passed(&answers), calls);
    assert_eq!(server.heard_of("tools/call").len(), calls);
    let refused = answers
        .iter()
        .find(|answer| !refusal(answer).is_null())
        .unwrap();
    assert_eq!(refused.status, 200);
    assert_eq!(refused.json()["result"]["isError"], true);
    let refusal = refusal(refused);
    assert_eq!(refusal["code"], "rate_limited");
    assert_eq!(refusal["limit"], "limits.rate.session");
    assert!(
        refusal["retry_after_s"].as_u64().unwrap() > 80_000,
        "{refusal}"
    );
    // Equal refusals share the record of their first.
    let decision = refusal["decision_id"].as_str().unwrap();
    let decision = decision.split('.').next().unwrap().to_owned();
    let record = gateway
        .record(|record| record["decision_id"] == decision.as_str())
        .await;
    assert_eq!(record["refusal"], "rate_limited");
}

/// Requests for lists that 16 calls of tools nobody has cause, at a server whose list goes on by `next`, and the code of the
/// last of the calls.
async fn lists(next: fn(usize) -> Value, is_stateless: bool, rate: u32) -> (usize, String) {
    let pages = std::sync::atomic::AtomicUsize::new(0);
    let server = FakeServer::start(move |heard| {
        if heard.method() != "tools/list" {
            return keepgate_tests::upstream::behave(heard).unwrap_or_default();
        }
        let page = pages.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let result = json!({"tools": [{"name": "echo", "inputSchema": {}}], "nextCursor": next(page),
            "ttlMs": 0, "cacheScope": "private", "resultType": "complete"});
        Say::json(&json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": result}))
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .with(limits(move |limits| {
            limits.rate.session = only(rate);
            limits.rate.caller = only(rate);
        }))
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let client = match is_stateless {
        true => client,
        false => client.initialize("2025-11-25").await,
    };
    let mut code = None;
    for number in 0..16 {
        let name = format!("none-{number}");
        let answer = match is_stateless {
            true => client.call_modern(&name, json!({})).await,
            false => client.call(&name, json!({})).await,
        };
        code = answer.code();
    }
    (
        server.heard_of("tools/list").len(),
        code.unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_calls_of_unknown_tools_cause_are_few_and_charged() {
    // A call pays for the first page with itself, and for each further one: `initialize`, the call, 18 pages.
    let endless: fn(usize) -> Value = |page| json!(page.to_string());
    for (what, next, rate, asked, code) in [
        (
            "a page",
            (|_| json!(null)) as fn(usize) -> Value,
            20,
            1,
            "not_found",
        ),
        (
            "a cursor that repeats",
            |_| json!("same"),
            20,
            2,
            "not_found",
        ),
        ("a list without end", endless, 100, 50, "not_found"),
        ("a list beyond the rate", endless, 20, 19, "rate_limited"),
    ] {
        for is_stateless in [false, true] {
            let more = usize::from(is_stateless && code == "rate_limited");
            let (lists, last) = lists(next, is_stateless, rate).await;
            // What is known is believed for five seconds, and a slow machine takes longer.
            assert!(lists >= asked && lists <= 2 * asked, "{what}: {lists}");
            assert!(
                code != "rate_limited" || lists == asked + more,
                "{what}: {lists}"
            );
            assert_eq!(last, code, "{what}, stateless: {is_stateless}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_session_never_refills_a_budget() {
    const MOST: usize = 20;
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .keys()
        .with(limits(|limits| limits.rate.caller = only(20)))
        .start()
        .await;
    // Another key, another session, another revision: one caller.
    let mut clients = vec![bearer(&gateway, "alice")];
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25", "2025-11-25"] {
        clients.push(bearer(&gateway, "alice").initialize(revision).await);
    }
    let calls = (0..10 * MOST).map(|index| {
        let (at, client) = (index % clients.len(), &clients[index % clients.len()]);
        async move {
            if at == 0 {
                client.call_modern("echo", json!({})).await
            } else {
                client.call("echo", json!({})).await
            }
        }
    });
    let answers = join_all(calls).await;
    // Each `initialize` was one of the twenty.
    assert_eq!(passed(&answers), MOST - 4);
    let bob = bearer(&gateway, "bob").call_modern("echo", json!({})).await;
    assert_eq!(passed(&[bob]), 1, "somebody else has a budget of their own");
}

fn initialize() -> String {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}})
    .to_string()
}

#[tokio::test]
async fn a_caller_opens_only_so_many_sessions() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .with(limits(|limits| limits.rate.opening = only(3)))
        .start()
        .await;
    let client = Client::new(gateway.addr);
    for _ in 0..3 {
        assert_eq!(client.post(initialize()).await.code(), None);
    }
    let refused = client.post(initialize()).await;
    assert_eq!(refused.code().as_deref(), Some("rate_limited"));
    assert_eq!(
        refused.json()["error"]["data"]["limit"],
        "limits.rate.opening"
    );
    assert_eq!(server.heard_of("initialize").len(), 3);
}

#[tokio::test]
async fn a_tool_has_a_rate_for_each_caller_and_a_server_one_for_all() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .keys()
        .with(of_server(ServerLimits {
            rate: only(5),
            tools: [("echo".to_owned(), only(2).unwrap())].into(),
            ..ServerLimits::default()
        }))
        .start()
        .await;
    let (alice, bob) = (bearer(&gateway, "alice"), bearer(&gateway, "bob"));
    let mut limits = Vec::new();
    for (client, tool) in [
        (&alice, "echo"),
        (&alice, "echo"),
        (&alice, "echo"),
        (&bob, "echo"),
        (&alice, "delete"),
        (&alice, "delete"),
        (&bob, "echo"),
    ] {
        let answer = client.call_modern(tool, json!({})).await;
        limits.push(refusal(&answer)["limit"].as_str().map(str::to_owned));
    }
    let tool = Some("servers.<name>.limits.tools".to_owned());
    let server = Some("servers.<name>.limits.rate".to_owned());
    // Alice's third call costs the server's budget nothing.
    assert_eq!(limits, [None, None, tool, None, None, None, server]);
}

#[tokio::test]
async fn so_many_calls_run_at_once_and_streams_count_to_their_end() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        if heard.method() != "tools/call" {
            return Say::json(&said(&heard.json()["id"], "hello"));
        }
        let answer = said(&heard.json()["id"], "late");
        vec![
            Say::sse(),
            Say::Until(held.clone()),
            Say::event(&answer),
            Say::Close,
        ]
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .with(limits(|limits| {
            limits.concurrency.caller = NonZeroUsize::new(2)
        }))
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let mut open = Vec::new();
    for _ in 0..2 {
        let body = keepgate_tests::client::modern_call("echo", &json!({})).to_string();
        let stream = client
            .modern("tools/call", Some("echo"))
            .open("POST", body)
            .await;
        open.push(Events::of(stream));
    }
    let refused = client.call_modern("echo", json!({})).await;
    assert_eq!(refusal(&refused)["code"], "concurrency_limited");
    assert_eq!(refusal(&refused)["limit"], "limits.concurrency.caller");
    gate.open();
    for events in open {
        assert_eq!(events.messages().await.len(), 1);
    }
    client.call_modern("echo", json!({})).await;
    assert_eq!(server.heard_of("tools/call").len(), 3);
}

#[tokio::test]
async fn a_server_that_is_gone_rests() {
    let gateway = TestGateway::http("http://127.0.0.1:9/mcp")
        .with(limits(|limits| {
            limits.breaker = Some(Breaker {
                failures: whole(3),
                open_for: Duration::from_secs(3600),
            });
        }))
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let mut codes = Vec::new();
    for _ in 0..5 {
        let answer = client.ask_modern("tools/list", None, json!({})).await;
        codes.push(answer.code().unwrap_or_default());
    }
    let gone = "upstream_unreachable";
    assert_eq!(
        codes,
        [
            gone,
            gone,
            gone,
            "upstream_circuit_open",
            "upstream_circuit_open"
        ]
    );
    let resting = client.ask_modern("tools/list", None, json!({})).await;
    assert_eq!(resting.json()["error"]["data"]["limit"], "limits.breaker");
}

#[tokio::test]
async fn a_session_that_is_refused_again_and_again_rests() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .keys()
        .policy("package mcp.authz\n\nallow contains \"echo\" if input.tool.name == \"echo\"\n\nvisible contains \"all\"\n")
        .with(limits(|limits| {
            limits.denial_breaker = Some(Breaker {
                failures: whole(3),
                open_for: Duration::from_secs(3600),
            });
        }))
        .start()
        .await;
    let alice = bearer(&gateway, "alice").initialize("2025-11-25").await;
    let again = bearer(&gateway, "alice").initialize("2025-11-25").await;
    let denied = |client: Client| async move {
        let answer = client.call("delete", json!({})).await;
        refusal(&answer)["code"]
            .as_str()
            .map(str::to_owned)
            .or_else(|| answer.code())
    };
    denied(alice.clone()).await;
    denied(alice.clone()).await;
    // One that passes begins the row anew, a ping does not.
    assert_eq!(passed(&[alice.call("echo", json!({})).await]), 1);
    denied(alice.clone()).await;
    denied(alice.clone()).await;
    alice.ask("ping", json!({})).await;
    denied(alice.clone()).await;
    let resting = alice.call("echo", json!({})).await;
    assert_eq!(refusal(&resting)["code"], "session_suspended");
    assert_eq!(passed(&[again.call("echo", json!({})).await]), 1);
    // It can end, though.
    assert_eq!(alice.send("DELETE", "").await.status, 200);
}

#[tokio::test]
async fn where_http_refuses_retry_after_says_how_long() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .with(limits(|limits| limits.rate.session = only(1)))
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let refused = client
        .header("accept", "text/event-stream")
        .send("GET", "")
        .await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.code().as_deref(), Some("rate_limited"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait > 80_000, "{wait}");
}

#[tokio::test]
async fn a_reload_gives_nobody_a_fresh_budget() {
    let server = server().await;
    let mut settings = None;
    let builder = TestGateway::http(&server.url()).with(|all| {
        all.limits.rate.caller = only(2);
        settings = Some(all.clone());
    });
    let gateway = builder.start().await;
    let client = Client::new(gateway.addr);
    for _ in 0..2 {
        assert_eq!(passed(&[client.call_modern("echo", json!({})).await]), 1);
    }
    gateway.gateway.reload(&settings.unwrap()).unwrap();
    let refused = client.call_modern("echo", json!({})).await;
    assert_eq!(refusal(&refused)["code"], "rate_limited");
}
