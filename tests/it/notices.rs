//! Notifications and responses of clients: counted, asked about, narrowed, and each caller's own.

use std::{num::NonZeroU32, time::Duration};

use futures_util::future::join_all;
use keepgate_gateway::{limit::Rate, settings::Settings};
use keepgate_tests::{Answer, Client, Events, FakeServer, Gate, Say, TestGateway, upstream::said};
use serde_json::{Value, json};

const CHILD: &str = env!("CARGO_BIN_EXE_keepgate-fake-child");

/// So many at once; the next refill is days away.
fn only(calls: u32) -> Option<Rate> {
    let calls = NonZeroU32::new(calls)?;
    Rate::new(NonZeroU32::MIN, Duration::from_secs(86_400), calls)
}

fn rates(session: Option<Rate>, caller: Option<Rate>) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.limits.rate.session = session;
        settings.limits.rate.caller = caller;
    }
}

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await
}

fn notification(method: &str, params: Value) -> String {
    let mut message = json!({"jsonrpc": "2.0", "method": method});
    message["params"] = params;
    message.to_string()
}

fn seen(answer: &Answer) -> (u16, Option<String>) {
    let code = (!answer.body.is_empty()).then(|| answer.code()).flatten();
    (answer.status, code)
}

fn notifications(server: &FakeServer) -> usize {
    let heard = server.heard();
    let notes = heard
        .iter()
        .filter(|heard| heard.method().starts_with("notifications/"));
    notes.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_have_ten_times_the_rate_of_calls_and_no_more() {
    for (limit, session, caller) in [
        ("limits.rate.session", only(2), None),
        ("limits.rate.caller", None, only(2)),
    ] {
        let server = server().await;
        let gateway = TestGateway::http(&server.url())
            .with(rates(session, caller))
            .start()
            .await;
        // `initialize` is a call, and `initialized` the first of twenty notifications.
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let body = notification("notifications/roots/list_changed", json!({}));
        let answers = join_all((0..60).map(|_| client.post(body.clone()))).await;
        let passed = answers.iter().filter(|answer| answer.status == 202);
        assert_eq!(passed.count(), 19, "{limit}");
        for answer in answers.iter().filter(|answer| answer.status != 202) {
            assert_eq!(seen(answer), (429, Some("rate_limited".to_owned())));
            assert_eq!(answer.json()["error"]["data"]["limit"], limit);
            let wait = answer.header("retry-after").expect("Retry-After");
            assert!(wait.parse::<u64>().expect("seconds") > 1_000);
        }
        assert_eq!(notifications(&server), 20, "{limit}");
        // The budget of calls is another: one is left of two.
        let call = client.call("echo", json!({})).await;
        assert_eq!(call.json()["result"]["content"][0]["text"], "hello");
    }
}

#[tokio::test]
async fn what_is_no_notification_of_a_client_reaches_no_server() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let before = server.heard().len();
    for method in [
        "notifications/vendor",
        "notifications/Initialized",
        "notifications/message",
        "notifications/tools/list_changed",
        "notifications/resources/updated",
        "notifications/elicitation/complete",
        "notifications/",
        // Requests by name, without an id.
        "tools/call",
        "ping",
        "sampling/createMessage",
    ] {
        let answer = client
            .post(notification(method, json!({"name": "delete"})))
            .await;
        let code = seen(&answer).1;
        assert_eq!(code.as_deref(), Some("method_unknown"), "{method}");
    }
    assert_eq!(server.heard().len(), before);
    let refusals = gateway.refusals().await;
    assert_eq!(
        refusals
            .iter()
            .filter(|code| *code == "method_unknown")
            .count(),
        10,
        "each is on record"
    );
}

#[tokio::test]
async fn only_members_a_notification_defines_reach_the_server() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let meta = json!({"vendor/x": [1, {"deep": true}]});
    for (method, sent, heard) in [
        ("initialized", json!({}), json!({})),
        (
            "initialized",
            json!({"_meta": meta}),
            json!({"_meta": meta}),
        ),
        ("initialized", json!({"run": "rm -rf /"}), json!({})),
        (
            "roots/list_changed",
            json!({"roots": ["file:///etc"], "_meta": meta}),
            json!({"_meta": meta}),
        ),
        (
            "roots/list_changed",
            json!({"other": 1, "more": 2}),
            json!({}),
        ),
        ("initialized", json!({"arguments": {"a": [{}]}}), json!({})),
    ] {
        let method = format!("notifications/{method}");
        let before = server.heard().len();
        assert_eq!(
            client
                .post(notification(&method, sent.clone()))
                .await
                .status,
            202
        );
        let all = server.heard();
        let message = all[before].json();
        assert_eq!(message["method"], method.as_str());
        assert_eq!(message["params"], heard, "{sent}");
    }
    let before = server.heard().len();
    for (method, sent) in [
        ("cancelled", json!({"requestId": {"a": 1}})),
        ("cancelled", json!({"requestId": 1, "reason": {"a": 1}})),
        ("cancelled", json!({"requestId": [7]})),
        ("progress", json!({"progressToken": "t", "progress": "1"})),
        ("progress", json!({"progressToken": 1.5, "progress": 1})),
        (
            "progress",
            json!({"progressToken": "t", "progress": 1, "message": [1]}),
        ),
    ] {
        let method = format!("notifications/{method}");
        let answer = client.post(notification(&method, sent.clone())).await;
        let code = seen(&answer).1;
        assert_eq!(code.as_deref(), Some("params_invalid"), "{sent}");
    }
    assert_eq!(server.heard().len(), before);
}

#[tokio::test]
async fn who_may_not_connect_notifies_nobody() {
    let policy = "package mcp.authz\n\nallow contains \"all\"\n\ndeny contains \"closed\" if input.phase == \"connect\"\n";
    for (policy, passes) in [(policy, false), (keepgate_tests::gateway::ALLOW_ALL, true)] {
        let server = server().await;
        let gateway = TestGateway::http(&server.url())
            .policy(policy)
            .start()
            .await;
        let meta = keepgate_tests::client::modern_meta();
        let body = notification(
            "notifications/cancelled",
            json!({"requestId": 1, "_meta": meta}),
        );
        let answer = Client::new(gateway.addr)
            .modern("notifications/cancelled", None)
            .post(body)
            .await;
        let denied = seen(&answer) == (403, Some("policy_denied".to_owned()));
        assert_eq!(denied, !passes, "{answer:?}");
        if !passes {
            assert_eq!(server.heard().len(), 0);
        }
    }
}

#[tokio::test]
async fn a_cancellation_ends_no_other_sessions_call_on_a_shared_process() {
    for shared in [true, false] {
        let directory = tempfile::tempdir().expect("a directory");
        let log = directory.path().join("heard");
        let heard = log.clone();
        let gateway = TestGateway::child(CHILD, &[], shared)
            .keys()
            .with(move |settings| {
                for server in settings.servers.values_mut() {
                    if let keepgate_gateway::settings::Upstream::Child { environment, .. } =
                        &mut server.upstream
                    {
                        environment.insert("HEARD".to_owned(), heard.display().to_string());
                    }
                }
            })
            .start()
            .await;
        let of = |subject: &str| {
            let key = gateway.key(subject, &[]);
            Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
        };
        let alice = of("alice").initialize("2025-11-25").await;
        let twin = of("alice").initialize("2025-11-25").await;
        let bob = of("bob").initialize("2025-11-25").await;
        let heard = |word: &str| {
            let all = std::fs::read_to_string(&log).unwrap_or_default();
            all.lines().filter(|line| line.contains(word)).count()
        };
        let call = {
            let alice = alice.clone();
            tokio::spawn(async move { alice.call("hang", json!({})).await })
        };
        while heard("\"hang\"") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let cancel = notification("notifications/cancelled", json!({"requestId": 7}));
        for stranger in [&bob, &twin] {
            assert_eq!(stranger.post(cancel.clone()).await.status, 202);
            // The notification has been heard once the call after it has its answer.
            stranger.call("pid", json!({})).await;
        }
        assert_eq!(heard("notifications/cancelled"), 0, "shared: {shared}");
        assert!(!call.is_finished());
        assert_eq!(alice.post(cancel).await.status, 202);
        let answer = call.await.expect("an answer");
        assert_eq!(answer.code().as_deref(), Some("cancelled"));
    }
}

#[tokio::test]
async fn progress_is_reported_only_to_the_question_that_asked_for_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        let question = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {
            "message": "sure?", "requestedSchema": {}, "_meta": {"progressToken": "t-1"}}});
        let answer = said(&heard.json()["id"], "done");
        vec![
            Say::sse(),
            Say::event(&question),
            Say::Until(held.clone()),
            Say::event(&answer),
            Say::Close,
        ]
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let asked = Client::new(gateway.addr).initialize("2025-11-25").await;
    let other = Client::new(gateway.addr).initialize("2025-11-25").await;
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    let mut events = Events::of(asked.open("POST", call.to_string()).await);
    assert_eq!(events.message().await.expect("a question")["id"], "q");
    let progress = |token: Value| {
        let params = json!({"progressToken": token, "progress": 1, "total": 2, "extra": {"a": 1}});
        notification("notifications/progress", params)
    };
    let reported = || server.heard_of("notifications/progress");
    for (client, token) in [
        (&other, json!("t-1")),
        (&asked, json!("t-2")),
        (&asked, json!(1)),
        (&asked, json!("q")),
    ] {
        let refused = client.post(progress(token.clone())).await;
        let code = seen(&refused).1;
        assert_eq!(code.as_deref(), Some("response_foreign"), "{token}");
    }
    assert_eq!(reported().len(), 0);
    assert_eq!(asked.post(progress(json!("t-1"))).await.status, 202);
    let params = &reported()[0].json()["params"];
    assert_eq!(
        *params,
        json!({"progressToken": "t-1", "progress": 1, "total": 2})
    );
    let answer = json!({"jsonrpc": "2.0", "id": "q", "result": {"action": "decline"}});
    assert_eq!(asked.post(answer.to_string()).await.status, 202);
    // The question is answered, and its progress over.
    let late = asked.post(progress(json!("t-1"))).await;
    assert_eq!(seen(&late).1.as_deref(), Some("response_foreign"));
    gate.open();
}

/// Tasks are passed on in neither direction, their notifications as little as their methods.
#[tokio::test]
async fn notifications_of_tasks_pass_in_neither_direction() {
    let status = json!({"taskId": "t", "status": "completed"});
    let note = notification("notifications/tasks/status", status.clone());
    let event = note.clone();
    let server = FakeServer::with_tools(move |heard| {
        vec![
            Say::sse(),
            Say::text(&format!("data: {event}\n\n")),
            Say::event(&said(&heard.json()["id"], "hello")),
            Say::Close,
        ]
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let refused = client.post(note).await;
    assert_eq!(
        seen(&refused).1.as_deref(),
        Some("method_unknown"),
        "{refused:?}"
    );
    assert!(server.heard_of("notifications/tasks/status").is_empty());
    let call =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo"}});
    let events = Events::of(client.open("POST", call.to_string()).await);
    assert_eq!(events.messages().await, [said(&json!(7), "hello")]);
}
