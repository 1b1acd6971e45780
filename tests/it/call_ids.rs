//! Ids of calls: requests go to their server under ids of the gateway's, whatever clients use, and every answer, every stream
//! and every event id belongs to one call.

use std::collections::HashSet;

use keepgate_tests::{
    Client, Events, FakeServer, Gate, Say, TestGateway,
    client::{field, modern_call, modern_meta},
    upstream::{Asked, behave, said},
};
use serde_json::{Value, json};

const SECRET: &str = "078-05-1120";
/// Answers to calls with `secret` are redacted, others are not.
const POLICY: &str = "package mcp.authz\n\nallow contains \"all\"\n\nredact contains {\"field\": \"SSN\"} if input.arguments.secret\nmax_bytes contains 100000 if not input.arguments.secret\n";

fn call(id: &Value, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}})
}

/// A server with an event store without sense: whoever resumes gets every answer so far, whatever the event id.
async fn forgetful() -> (FakeServer, TestGateway) {
    let asked = Asked::default();
    let server =
        FakeServer::start(
            move |heard| match (heard.verb.as_str(), heard.method().as_str()) {
                ("GET", _) if heard.header("last-event-id").is_none() => {
                    vec![
                        Say::sse(),
                        Say::text("id: listening-1\ndata:\n\n"),
                        Say::Close,
                    ]
                }
                ("GET", _) => {
                    let all = asked.all().into_iter();
                    let all = all.map(|id| {
                        format!(
                            "id: again\ndata: {}\n\n",
                            said(&id, &format!("SSN: {SECRET}"))
                        )
                    });
                    vec![Say::sse(), Say::text(&all.collect::<String>()), Say::Close]
                }
                (_, "tools/call") => {
                    asked.note(heard);
                    vec![
                        Say::sse(),
                        Say::text("id: Bearer upstream-token\ndata:\n\n"),
                        Say::Close,
                    ]
                }
                _ => behave(heard).unwrap_or_default(),
            },
        )
        .await;
    let gateway = TestGateway::http(&server.url())
        .policy(POLICY)
        .start()
        .await;
    (server, gateway)
}

/// Calls, and gives the first event id.
async fn begun(client: &Client, id: &Value, arguments: &Value) -> String {
    let mut events = Events::of(client.open("POST", call(id, arguments).to_string()).await);
    let first = events.block().await.expect("an event");
    field(&first, "id").expect("an event id").to_owned()
}

async fn resumed(client: &Client, event: &str) -> Vec<Value> {
    let client = client.clone().header("last-event-id", event);
    Events::of(client.open("GET", "").await).messages().await
}

async fn refused(client: &Client, event: &str) {
    let answer = client
        .clone()
        .header("last-event-id", event)
        .send("GET", "")
        .await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (400, Some("event_unknown")),
        "{event}"
    );
}

#[tokio::test]
async fn trap_17_a_resumed_stream_brings_its_own_answer_under_its_own_rules() {
    let (_server, gateway) = forgetful().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let (secret, open) = (json!({"secret": true}), json!({"secret": false}));
    // The same id, other ids, ids of another kind; in either order.
    for (first, second) in [
        (json!(6), json!(6)),
        (json!(6), json!("6")),
        (json!("a"), json!(9)),
    ] {
        let a = begun(&client, &first, &secret).await;
        let b = begun(&client, &second, &open).await;
        for (event, id, text) in [
            (&a, &first, "[redacted]".to_owned()),
            (&b, &second, format!("SSN: {SECRET}")),
            (&a, &first, "[redacted]".to_owned()),
        ] {
            let answers = resumed(&client, event).await;
            assert_eq!(answers.len(), 1, "{answers:?}");
            assert_eq!(&answers[0]["id"], id);
            assert_eq!(answers[0]["result"]["content"][0]["text"], text.as_str());
        }
    }
    let resumed = gateway.records().await;
    let of_get = |kind: &str| {
        let mut all = resumed.iter();
        all.find(|record| record["kind"] == kind && record["method"] == "GET")
            .expect("a record")
            .clone()
    };
    // The record of the resuming request names the call.
    let reasons = of_get("call.intent")["reasons"].clone();
    let whose = reasons
        .as_array()
        .unwrap()
        .iter()
        .find(|reason| reason["code"] == "resumed");
    let whose = whose.expect("a reason")["message"].clone();
    assert!(resumed.iter().any(|record| record["kind"] == "call.intent"
        && record["decision_id"] == whose
        && record["method"] == "tools/call"));
    assert_eq!(of_get("call.outcome")["result"]["status"], "ok");
}

#[tokio::test]
async fn trap_17_event_ids_are_for_their_stream_in_their_session_and_readable_by_nobody() {
    let (server, gateway) = forgetful().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let sealed = begun(&client, &json!(6), &json!({})).await;
    // What a server writes there may be its credential, or anything.
    assert!(
        !sealed.contains("upstream") && !sealed.contains("Bearer"),
        "{sealed}"
    );
    assert!(sealed.len() <= 512 && sealed.bytes().all(|byte| byte.is_ascii_graphic()));
    let listening = Events::of(client.open("GET", "").await).block().await;
    let listening = field(&listening.unwrap(), "id").unwrap().to_owned();
    assert!(!listening.contains("listening"));
    // A listening stream that is resumed brings no answer, whatever its server sends.
    assert_eq!(resumed(&client, &listening).await, Vec::<Value>::new());
    let other = Client::new(gateway.addr).initialize("2025-11-25").await;
    let before = server.heard().len();
    let flipped = |at: usize| {
        let mut text = sealed.clone().into_bytes();
        text[at] = if text[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(text).unwrap()
    };
    let forged = [
        "Bearer upstream-token".to_owned(),
        "1".to_owned(),
        sealed[1..].to_owned(),
        sealed[..sealed.len() - 1].to_owned(),
        format!("{sealed}AAAA"),
        format!("{sealed}{sealed}"),
        "A".repeat(5000),
        flipped(0),
        flipped(sealed.len() / 2),
        flipped(sealed.len() - 1),
    ];
    for event in &forged {
        refused(&client, event).await;
    }
    refused(&other, &sealed).await;
    refused(&other, &listening).await;
    assert_eq!(server.heard().len(), before);
    // On anything but a stream the header means nothing, and the server does not hear of it.
    let posting = client.clone().header("last-event-id", &sealed);
    posting.post(call(&json!(6), &json!({})).to_string()).await;
    let heard = server.heard_of("tools/call").pop().unwrap();
    assert_eq!(heard.header("last-event-id"), None);
}

#[tokio::test]
async fn trap_17_another_run_with_the_same_key_knows_none_of_the_streams() {
    let (server, gateway) = forgetful().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let sealed = begun(&client, &json!(6), &json!({})).await;
    let again = TestGateway::http(&server.url())
        .policy(POLICY)
        .start()
        .await;
    let before = server.heard().len();
    let mut moved = Client::new(again.addr).header("mcp-protocol-version", "2025-11-25");
    moved = moved.header("mcp-session-id", client.sent("mcp-session-id").unwrap());
    moved = moved.header("last-event-id", &sealed);
    assert_eq!(
        moved.send("GET", "").await.code().as_deref(),
        Some("session_unknown")
    );
    assert_eq!(server.heard().len(), before);
    let fresh = Client::new(again.addr).initialize("2025-11-25").await;
    refused(&fresh, &sealed).await;
}

#[tokio::test]
async fn only_the_last_streams_of_a_session_can_be_resumed() {
    let (_server, gateway) = forgetful().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let first = begun(&client, &json!(1), &json!({})).await;
    let second = begun(&client, &json!(2), &json!({})).await;
    for id in 3..=257 {
        begun(&client, &json!(id), &json!({})).await;
    }
    refused(&client, &first).await;
    assert_eq!(resumed(&client, &second).await.len(), 1);
}

#[tokio::test]
async fn an_event_id_that_is_too_long_or_leads_nowhere_is_left_out() {
    let server = FakeServer::with_tools(|heard| {
        let answer = said(&heard.json()["id"], "done");
        let long = "x".repeat(2000);
        vec![
            Say::sse(),
            Say::text(&format!("id: {long}\ndata: {answer}\n\n")),
            Say::Close,
        ]
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let block = Events::of(
        client
            .open("POST", call(&json!(7), &json!({})).to_string())
            .await,
    )
    .block()
    .await
    .unwrap();
    assert_eq!(field(&block, "id"), None);
    assert!(block.contains("done"));
    // 2026-07-28 has nothing to resume.
    let client = Client::new(gateway.addr).modern("tools/call", Some("echo"));
    let block = Events::of(
        client
            .open("POST", modern_call("echo", &json!({})).to_string())
            .await,
    )
    .block()
    .await
    .unwrap();
    assert_eq!(field(&block, "id"), None);
    assert!(block.contains("done"));
}

#[tokio::test]
async fn trap_18_ids_go_up_as_ours_and_come_back_as_they_were_written() {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let long = format!("\"{}\"", "x".repeat(900));
    let ids = [
        "1",
        "1",
        "-5",
        "0",
        "\"1\"",
        "\"\"",
        "9007199254740993",
        "123456789012345678901234567890",
        "\"\\u0061\\/\\n\"",
        "\"\u{e9} \\\"quoted\\\"\"",
        &long,
    ];
    for id in ids {
        let body = format!(
            r#"{{"jsonrpc":"2.0", "id" : {id} ,"method":"tools/call","params":{{"name":"echo"}}}}"#
        );
        let answer = client.post(body).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains(&format!("\"id\":{id}")), "{text}");
    }
    let used: Vec<u64> = server
        .heard()
        .iter()
        .filter_map(|heard| heard.json()["id"].as_u64())
        .collect();
    assert!(used.iter().all(|id| *id < 1 << 53));
    assert_eq!(
        used.iter().collect::<HashSet<_>>().len(),
        used.len(),
        "{used:?}"
    );
    // Another run begins elsewhere.
    let again = TestGateway::http(&server.url()).start().await;
    Client::new(again.addr).initialize("2025-11-25").await;
    let latest = server.heard_of("initialize").pop().unwrap().json()["id"]
        .as_u64()
        .unwrap();
    assert!(!used.contains(&latest));
}

/// A server that answers calls with what they are asked, once `gate` is open: some on a stream with progress.
async fn held_back(gate: &Gate) -> FakeServer {
    let held = gate.clone();
    FakeServer::with_tools(move |heard| {
        let message = heard.json();
        let mut says = vec![Say::Until(held.clone())];
        let who = message["params"]["arguments"]["who"]
            .as_str()
            .unwrap_or_default();
        let answer = said(&message["id"], who);
        says.extend(if who.ends_with('1') {
            Say::sse_whole(&[heard.progress(1), answer])
        } else {
            Say::json(&answer)
        });
        says
    })
    .await
}

#[tokio::test]
async fn trap_18_one_id_for_several_calls_at_once_refuses_and_mixes_nothing() {
    let gate = Gate::default();
    let server = held_back(&gate).await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let session = Client::new(gateway.addr).initialize("2025-11-25").await;
    let modern = Client::new(gateway.addr).modern("tools/call", Some("echo"));
    let mut running = Vec::new();
    for at in 0..12 {
        let (client, mut body) = if at % 3 == 0 {
            (
                modern.clone(),
                modern_call("echo", &json!({"who": format!("call {at}")})),
            )
        } else {
            (
                session.clone(),
                call(&json!(1), &json!({"who": format!("call {at}")})),
            )
        };
        body["id"] = json!(1);
        // The same token as well, as SDKs take it from the id.
        body["params"]["_meta"]["progressToken"] = json!(1);
        running.push(tokio::spawn(async move {
            (at, client.post(body.to_string()).await)
        }));
    }
    let all = async {
        while server.heard_of("tools/call").len() < 12 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), all)
        .await
        .unwrap();
    gate.open();
    for running in running {
        let (at, answer) = running.await.unwrap();
        for message in answer.messages() {
            match message.get("method") {
                Some(_) => assert_eq!(message["params"]["progressToken"], 1),
                None => assert_eq!(message, said(&json!(1), &format!("call {at}"))),
            }
        }
        assert_eq!(answer.messages().len(), 1 + usize::from(at % 10 == 1));
    }
    let counted = gateway.gateway.shared().meters.text();
    let line = counted
        .lines()
        .find(|line| line.starts_with("keepgate_session_reused_ids_total{"));
    assert!(line.is_some_and(|line| line.ends_with(" 7")), "{counted}");
}

#[tokio::test]
async fn trap_18_progress_reaches_the_call_that_asked_for_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let asked = Asked::default();
    let server = FakeServer::with_tools(move |heard| {
        asked.note(heard);
        let mut foreign = heard.progress(2);
        foreign["params"]["progressToken"] = json!("t");
        let mut unknown = heard.progress(3);
        unknown["params"]["progressToken"] = json!(1);
        let own = heard.progress(1);
        vec![
            Say::sse(),
            Say::event(&foreign),
            Say::event(&unknown),
            Say::event(&own),
            Say::Until(held.clone()),
            Say::event(&said(&heard.json()["id"], "done")),
            Say::Close,
        ]
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    // Two calls with one token, one with another, one that asks for none.
    for token in [
        json!("t"),
        json!("t"),
        json!(12.0),
        json!("\u{e9}\""),
        Value::Null,
    ] {
        let mut body = call(&json!(1), &json!({}));
        if !token.is_null() {
            body["params"]["_meta"] = json!({"progressToken": token});
        }
        let mut events = Events::of(client.open("POST", body.to_string()).await);
        if token.is_string() {
            let progress = events.message().await.unwrap();
            assert_eq!(
                progress["params"],
                json!({"progressToken": token, "progress": 1})
            );
        }
        gate.open_once();
        assert_eq!(
            events.message().await.unwrap()["result"]["content"][0]["text"],
            "done"
        );
    }
}

#[tokio::test]
async fn a_cancellation_ends_the_one_running_call_it_fits_and_no_other() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        let mut says = vec![Say::Until(held.clone())];
        says.extend(Say::json(&said(&heard.json()["id"], "done")));
        says
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let other = Client::new(gateway.addr).initialize("2025-11-25").await;
    client.ask("tools/list", json!({})).await;
    let calls = [
        (&client, json!(1)),
        (&client, json!(1)),
        (&client, json!("1")),
        (&other, json!(5)),
    ];
    let mut running = Vec::new();
    for (at, (client, id)) in calls.into_iter().enumerate() {
        let (client, body) = (client.clone(), call(&id, &json!({"at": at})).to_string());
        running.push(tokio::spawn(async move { client.post(body).await }));
        server
            .hears(|heard| heard.json()["params"]["arguments"]["at"] == at)
            .await;
    }
    let wire = |at: usize| {
        let mut all = server.heard_of("tools/call").into_iter();
        all.find(|heard| heard.json()["params"]["arguments"]["at"] == at)
            .unwrap()
            .json()["id"]
            .clone()
    };
    let cancel = async |client: &Client, id: Value| {
        let body = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": "enough"}});
        assert_eq!(client.post(body.to_string()).await.status, 202);
    };
    // Fits two; fits none; fits another session's; names ids of ours; of a revision without sessions.
    cancel(&client, json!(1)).await;
    cancel(&client, json!(99)).await;
    cancel(&client, json!(5)).await;
    cancel(&client, wire(3)).await;
    cancel(&client, wire(0)).await;
    let modern = Client::new(gateway.addr).modern("notifications/cancelled", None);
    let body = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": wire(3), "_meta": modern_meta()}});
    modern.post(body.to_string()).await;
    assert!(server.heard_of("notifications/cancelled").is_empty());
    cancel(&client, json!("1")).await;
    let sent = server.heard_of("notifications/cancelled");
    assert_eq!(sent.len(), 1);
    assert_eq!(
        sent[0].json()["params"],
        json!({"requestId": wire(2), "reason": "enough"})
    );
    gate.open();
    for running in running {
        assert_eq!(running.await.unwrap().code(), None);
    }
    // It is over: there is nothing left to cancel.
    cancel(&client, json!("1")).await;
    assert_eq!(server.heard_of("notifications/cancelled").len(), 1);
}

#[tokio::test]
async fn a_subscription_is_known_by_its_clients_id_and_ends_by_it() {
    let listed = |id: &Value| json!({"io.modelcontextprotocol/subscriptionId": id});
    let changed = move |id: &Value| json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"_meta": listed(id)}});
    let ended = move |id: &Value| json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "_meta": listed(id)}});
    let server = FakeServer::start(move |heard| match heard.method().as_str() {
        "subscriptions/listen" => {
            let id = heard.json()["id"].clone();
            let cancelled = |id: &Value| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
            Say::sse_whole(&[
                changed(&id), changed(&json!(7)), changed(&json!("s")),
                cancelled(&json!("s")), cancelled(&id), ended(&json!("s")), ended(&id),
            ])
        }
        _ => behave(heard).unwrap_or_default(),
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).modern("subscriptions/listen", None);
    let body = json!({"jsonrpc": "2.0", "id": "s", "method": "subscriptions/listen", "params": {"notifications": {"toolsListChanged": true}, "_meta": modern_meta()}});
    let messages = Events::of(client.open("POST", body.to_string()).await)
        .messages()
        .await;
    let own = json!("s");
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "s"}});
    assert_eq!(messages, [changed(&own), cancelled, ended(&own)]);
}

#[tokio::test]
async fn a_resumed_stream_repeats_its_servers_question_and_it_is_answered_once() {
    let asked = Asked::default();
    let question = json!({"jsonrpc": "2.0", "id": "q1", "method": "ping"});
    let server =
        FakeServer::start(
            move |heard| match (heard.verb.as_str(), heard.method().as_str()) {
                ("GET", _) => {
                    let answer = said(&asked.id(0), "done");
                    let text = format!("id: 2\ndata: {question}\n\nid: 3\ndata: {answer}\n\n");
                    vec![Say::sse(), Say::text(&text), Say::Close]
                }
                (_, "tools/call") => {
                    asked.note(heard);
                    let text = format!("id: 1\ndata: {question}\n\n");
                    vec![Say::sse(), Say::text(&text), Say::Close]
                }
                _ => behave(heard).unwrap_or_default(),
            },
        )
        .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let event = begun(&client, &json!(7), &json!({})).await;
    let messages = resumed(&client, &event).await;
    let ids: Vec<&Value> = messages.iter().map(|message| &message["id"]).collect();
    assert_eq!(ids, [&json!("q1"), &json!(7)], "{messages:?}");
    let answer = json!({"jsonrpc": "2.0", "id": "q1", "result": {}}).to_string();
    assert_eq!(client.post(answer.clone()).await.status, 202);
    assert_eq!(
        client.post(answer).await.code().as_deref(),
        Some("response_foreign")
    );
    // The client's own answer and no refusal of ours before it.
    let answers = server
        .heard()
        .into_iter()
        .filter(|heard| heard.json()["id"] == "q1");
    assert_eq!(
        answers
            .map(|heard| heard.json()["result"].clone())
            .collect::<Vec<_>>(),
        [json!({})]
    );
}
