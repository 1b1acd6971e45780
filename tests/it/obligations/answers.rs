//! Answers: redacted, cut, withheld, judged; however a server tries to say it all the same.

use std::time::Duration;

use keepgate_tests::{
    Client, Events, FakeServer, Gate, Heard, Say, TestGateway, client::field, upstream::Asked,
};
use serde_json::{Value, json};

use super::{both, obliged, obliging, result};

const FIELD: &str = "redact contains {\"field\": \"SSN__c\"}";
const SECRET: &str = "078-05-1120";

/// Everything that came, as text.
fn text(answer: &keepgate_tests::Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// A server answers with `said` for the id it was asked under; nothing of the secret comes through in either era.
async fn hidden(rules: &str, said: impl Fn(&Heard) -> Vec<Say> + Send + Sync + 'static) -> String {
    let (server, gateway) = obliged(rules, said).await;
    let mut all = String::new();
    for answer in both(&gateway, json!({})).await {
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = text(&answer);
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains("[redacted]"), "{text}");
        all.push_str(&text);
    }
    assert_eq!(server.heard_of("tools/call").len(), 2);
    all
}

/// One body, with the secret written as a server likes.
fn body(heard: &Heard, rest: &str) -> Vec<Say> {
    let id = &heard.json()["id"];
    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{rest}}}");
    Say::http("200 OK", "application/json", &body)
}

#[tokio::test]
async fn a_denied_field_comes_through_in_no_form() {
    for rest in [
        // As it is, and spelled with escapes, in any case.
        r#""result":{"content":[],"structuredContent":{"rows":[{"SSN__c":"078-05-1120"}]}}"#,
        r#""result":{"content":[],"structuredContent":{"\u0053s\u004e__C":"078-05-1120"}}"#,
        // JSON in text, in text in text, and beside words.
        r#""result":{"content":[{"type":"text","text":"{\"SSN__c\":\"078-05-1120\"}"}]}"#,
        r#""result":{"content":[{"type":"text","text":"\"{\\\"SSN__c\\\":\\\"078-05-1120\\\"}\""}]}"#,
        r#""result":{"content":[{"type":"text","text":"Found: {\"SSN__c\":\"078-05-1120\"} today"}]}"#,
        r#""result":{"content":[{"type":"text","text":"Name: Bob\nSSN__c: 078-05-1120"}]}"#,
        // JSON that only lenient readers read.
        r#""result":{"content":[{"type":"text","text":"{\"\\u0053SN__c\":\"078-05-1120\","}]}"#,
        r#""result":{"content":[{"type":"text","text":"{\"SSN__c\":1,\"SSN__c\":\"078-05-1120\"}"}]}"#,
        // An embedded resource, as text and as base64 of {"SSN__c":"078-05-1120"}.
        r#""result":{"content":[{"type":"resource","resource":{"uri":"a:b","text":"{\"SSN__c\":\"078-05-1120\"}"}}]}"#,
        // An error.
        r#""error":{"code":-1,"message":"SSN__c is 078-05-1120"}"#,
        r#""error":{"code":-1,"message":"no","data":{"row":{"SSN__c":"078-05-1120"}}}"#,
        // Metadata, and members nobody has heard of.
        r#""result":{"content":[],"_meta":{"x/y":{"SSN__c":"078-05-1120"}}}"#,
        r#""result":{"content":[{"type":"text","text":"x","SSN__c":"078-05-1120"}]}"#,
    ] {
        hidden(FIELD, move |heard| body(heard, rest)).await;
    }
}

#[tokio::test]
async fn a_denied_field_is_found_in_base64() {
    let (_server, gateway) = obliged(FIELD, |heard| {
        body(heard, r#""result":{"content":[{"type":"resource","resource":{"uri":"a:b","blob":"eyJTU05fX2MiOiIwNzgtMDUtMTEyMCJ9"}}]}"#)
    })
    .await;
    for answer in both(&gateway, json!({})).await {
        let message = answer.messages().pop().unwrap();
        // {"SSN__c":"[redacted]"}
        let blob = &message["result"]["content"][0]["resource"]["blob"];
        assert_eq!(blob, "eyJTU05fX2MiOiJbcmVkYWN0ZWRdIn0=");
    }
}

#[tokio::test]
async fn what_is_said_on_the_way_is_redacted_too() {
    let all = hidden(FIELD, |heard| {
        let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": {"SSN__c": SECRET}}});
        let mut progress = heard.progress(1);
        progress["params"]["message"] = format!("SSN__c: {SECRET}").into();
        let done = result(heard, &json!({"content": [], "structuredContent": {"SSN__c": SECRET}}));
        Say::sse_whole(&[log, progress, done])
    })
    .await;
    assert_eq!(all.matches("[redacted]").count(), 6, "{all}");
}

#[tokio::test]
async fn each_event_goes_on_as_it_comes() {
    let gate = Gate::default();
    let held = gate.clone();
    let (_server, gateway) = obliged(FIELD, move |heard| {
        let mut progress = heard.progress(1);
        progress["params"]["message"] = "SSN__c: 1".into();
        let done = result(
            heard,
            &json!({"content": [], "structuredContent": {"SSN__c": SECRET}}),
        );
        vec![
            Say::sse(),
            Say::event(&progress),
            Say::Until(held.clone()),
            Say::event(&done),
        ]
    })
    .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {}, "_meta": {"progressToken": "t"}}});
    let mut events = Events::of(client.open("POST", call.to_string()).await);
    let first = events.message().await.unwrap();
    assert_eq!(first["params"]["message"], "[redacted]");
    gate.open();
    let last = events.message().await.unwrap();
    assert_eq!(last["result"]["structuredContent"]["SSN__c"], "[redacted]");
}

#[tokio::test]
async fn places_and_patterns_are_redacted() {
    let rules = "redact contains {\"result\": \"/items/*/ssn\", \"remove\": true}\n\
        redact contains {\"pattern\": \"email\"}";
    let (_server, gateway) = obliged(rules, |heard| {
        Say::json(&result(heard, &json!({
            "content": [{"type": "text", "text": "{\"items\":[{\"ssn\":1,\"to\":\"a\\u0040b.example\"}]}"}],
            "structuredContent": {"items": [{"ssn": 1, "to": "a@b.example"}]}})))
    })
    .await;
    for answer in both(&gateway, json!({})).await {
        let result = answer.messages().pop().unwrap()["result"].clone();
        let items = json!({"items": [{"to": "[redacted]"}]});
        assert_eq!(result["structuredContent"], items);
        let said: Value =
            serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(said, items);
    }
    let outcome = gateway
        .record(|record| record["kind"] == "call.outcome" && record["tool_name"] == "echo")
        .await;
    assert_eq!(outcome["result"]["redacted"], 4, "{outcome}");
}

#[tokio::test]
async fn an_answer_in_which_nothing_matches_keeps_its_bytes() {
    let odd = r#""result":{ "content" : [ ],"structuredContent":{"n":1.10,"\u0061":"\/"} }"#;
    let (_server, gateway) = obliged(FIELD, move |heard| body(heard, odd)).await;
    for answer in both(&gateway, json!({})).await {
        assert!(text(&answer).contains(odd), "{answer:?}");
    }
}

#[tokio::test]
async fn records_are_cut_and_the_client_is_told() {
    let (_server, gateway) = obliged("max_records contains 2", |heard| {
        Say::json(&result(
            heard,
            &json!({"content": [{"type": "text", "text": "[{},{},{}]"}],
            "structuredContent": {"items": [{}, {}, {}, {}]}}),
        ))
    })
    .await;
    for answer in both(&gateway, json!({})).await {
        let result = answer.messages().pop().unwrap()["result"].clone();
        assert_eq!(result["structuredContent"]["items"], json!([{}, {}]));
        assert_eq!(result["content"][0]["text"], "[{},{}]");
        assert_eq!(result["_meta"]["dev.keepgate/records_cut"], 3);
    }
}

#[tokio::test]
async fn a_result_that_is_too_large_is_withheld() {
    let long = "x".repeat(2_000);
    let (_server, gateway) = obliged("max_bytes contains 1000", move |heard| {
        let done = result(heard, &json!({"content": [{"type": "text", "text": long}]}));
        if heard.json()["params"]["arguments"]["stream"] == true {
            Say::sse_whole(&[done])
        } else {
            Say::json(&done)
        }
    })
    .await;
    for arguments in [json!({}), json!({"stream": true})] {
        for answer in both(&gateway, arguments).await {
            assert_eq!(
                answer.code().as_deref(),
                Some("result_too_large"),
                "{answer:?}"
            );
            assert!(!text(&answer).contains("xxx"));
        }
    }
    let outcome = gateway
        .record(|record| record["kind"] == "call.outcome" && record["tool_name"] == "echo")
        .await;
    assert_eq!(
        (&outcome["refusal"], &outcome["result"]["status"]),
        (&json!("result_too_large"), &json!("withheld"))
    );
}

#[tokio::test]
async fn what_is_said_on_a_stream_counts_as_well() {
    let (_server, gateway) = obliged("max_bytes contains 1000", |heard| {
        let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "y".repeat(400)}});
        let done = result(heard, &json!({"content": []}));
        Say::sse_whole(&[log.clone(), log.clone(), log, done])
    })
    .await;
    for answer in both(&gateway, json!({})).await {
        assert_eq!(
            answer.code().as_deref(),
            Some("result_too_large"),
            "{answer:?}"
        );
    }
}

/// A session's standing stream, on which the server says `said` once it was asked for it.
async fn listening(rules: &str, said: Value) -> (FakeServer, TestGateway, Client, Gate) {
    let gate = Gate::default();
    let held = gate.clone();
    let server = FakeServer::start(move |heard| {
        if heard.verb == "GET" {
            return vec![Say::sse(), Say::Until(held.clone()), Say::event(&said)];
        }
        keepgate_tests::upstream::behave(heard)
            .unwrap_or_else(|| Say::json(&result(heard, &json!({"content": []}))))
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .policy(&obliging(rules))
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    (server, gateway, client, gate)
}

#[tokio::test]
async fn a_server_does_not_say_elsewhere_what_was_redacted() {
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
        "params": {"level": "info", "data": {"SSN__c": SECRET}}});
    let (_server, _gateway, client, gate) = listening(FIELD, log).await;
    let mut events = Events::of(client.open("GET", "").await);
    assert_eq!(client.call("echo", json!({})).await.code(), None);
    gate.open();
    let heard = events.message().await.unwrap();
    assert_eq!(heard["params"]["data"]["SSN__c"], "[redacted]");
}

#[tokio::test]
async fn an_answer_on_a_resumed_stream_meets_the_rules_of_its_call() {
    for (rules, code) in [
        (FIELD, None),
        ("max_bytes contains 20", Some("result_too_large")),
        (
            "deny contains \"rows\" if input.response.size > 10",
            Some("policy_denied"),
        ),
    ] {
        let asked = Asked::default();
        let server = FakeServer::start(move |heard| match (heard.verb.as_str(), heard.method().as_str()) {
            ("GET", _) => {
                let done = json!({"jsonrpc": "2.0", "id": asked.id(0), "result": {"content": [], "structuredContent": {"SSN__c": SECRET}}});
                vec![Say::sse(), Say::text(&format!("id: 2\ndata: {done}\n\n")), Say::Close]
            }
            (_, "tools/call") => {
                asked.note(heard);
                vec![Say::sse(), Say::text("id: 1\ndata:\n\n"), Say::Close]
            }
            _ => keepgate_tests::upstream::behave(heard).unwrap_or_default(),
        })
        .await;
        let gateway = TestGateway::http(&server.url())
            .policy(&obliging(rules))
            .start()
            .await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
        let primed = Events::of(client.open("POST", call.to_string()).await)
            .block()
            .await
            .unwrap();
        let resumed = client.header("last-event-id", field(&primed, "id").unwrap());
        let answer = Events::of(resumed.open("GET", "").await)
            .message()
            .await
            .unwrap();
        assert!(!answer.to_string().contains(SECRET), "{answer}");
        let refused = answer.pointer("/result/_meta/dev.keepgate~1refusal/code");
        assert_eq!(refused.and_then(Value::as_str), code, "{answer}");
    }
}

/// A server that gives each tool call an event id and hangs up, and answers all calls so far to whoever resumes, the latest
/// first.
async fn resumed(result: Value, rules: &str) -> (FakeServer, TestGateway, Client) {
    let asked = Asked::default();
    let done = move |id: &Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    let server =
        FakeServer::start(
            move |heard| match (heard.verb.as_str(), heard.method().as_str()) {
                ("GET", _) => {
                    let all = asked.all().into_iter().rev();
                    let all = all.map(|id| format!("id: 2\ndata: {}\n\n", done(&id)));
                    vec![Say::sse(), Say::text(&all.collect::<String>()), Say::Close]
                }
                (_, "tools/call") => {
                    asked.note(heard);
                    let answers = heard.json()["params"]["arguments"]["answers"] == true;
                    let answer = format!("id: 2\ndata: {}\n\n", done(&asked.id(0)));
                    let answer = if answers { answer } else { String::new() };
                    vec![
                        Say::sse(),
                        Say::text(&format!("id: 1\ndata:\n\n{answer}")),
                        Say::Close,
                    ]
                }
                _ => keepgate_tests::upstream::behave(heard).unwrap_or_default(),
            },
        )
        .await;
    let gateway = TestGateway::http(&server.url())
        .policy(&obliging(rules))
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    (server, gateway, client)
}

fn call(arguments: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}})
        .to_string()
}

/// Calls, and hangs up after the first event; gives a client that resumes there.
async fn begun(client: &Client, arguments: &Value) -> Client {
    let primed = Events::of(client.open("POST", call(arguments)).await)
        .block()
        .await
        .unwrap();
    client
        .clone()
        .header("last-event-id", field(&primed, "id").unwrap())
}

#[tokio::test]
async fn an_id_that_is_used_again_takes_no_answer_of_another_call() {
    let done = json!({"content": [], "structuredContent": {"SSN__c": SECRET}});
    for other in ["max_bytes contains 100000", "labels contains \"x\""] {
        let rules = format!(
            "redact contains {{\"field\": \"SSN__c\"}} if input.arguments.secret\n\
             {other} if not input.arguments.secret"
        );
        let (server, gateway, client) = resumed(done.clone(), &rules).await;
        let first = begun(&client, &json!({"secret": true})).await;
        let second = begun(&client, &json!({"secret": false})).await;
        assert_eq!(server.heard_of("tools/call").len(), 2);
        // Both have the client's id 7, and the server sends both answers on both streams.
        for (resuming, text) in [(first, "[redacted]"), (second, SECRET)] {
            let answers = Events::of(resuming.open("GET", "").await).messages().await;
            assert_eq!(answers.len(), 1, "{answers:?}");
            assert_eq!(answers[0]["id"], 7);
            assert_eq!(answers[0]["result"]["structuredContent"]["SSN__c"], text);
        }
        drop(gateway);
    }
}

#[tokio::test]
async fn what_was_withheld_is_not_had_by_asking_again() {
    let done = json!({"content": [{"type": "text", "text": SECRET}]});
    for rules in [
        "max_bytes contains 20",
        "deny contains \"rows\" if input.response.size > 10",
    ] {
        let (_server, _gateway, client) = resumed(done.clone(), rules).await;
        let withheld = client.post(call(&json!({"answers": true}))).await;
        assert!(!text(&withheld).contains(SECRET), "{withheld:?}");
        let id = field(&text(&withheld), "id").unwrap().to_owned();
        let resuming = client.clone().header("last-event-id", &id);
        let again = Events::of(resuming.open("GET", "").await).messages().await;
        assert!(!format!("{again:?}").contains(SECRET), "{again:?}");
    }
}

#[tokio::test]
async fn what_is_answered_on_a_resumed_stream_is_counted() {
    let done = json!({"content": [], "structuredContent": {"rows": [{}, {}, {}]}});
    let rules =
        "deny contains \"spent\" if { input.phase == \"call\"; input.history.records_out >= 3 }";
    let (_server, _gateway, client) = resumed(done, rules).await;
    let resuming = begun(&client, &json!({})).await;
    let answer = Events::of(resuming.open("GET", "").await).message().await;
    assert_eq!(answer.unwrap()["id"], 7);
    let spent = client.post(call(&json!({}))).await;
    assert_eq!(spent.code().as_deref(), Some("policy_denied"), "{spent:?}");
}

#[tokio::test]
async fn policy_judges_what_was_answered() {
    let rules = "deny contains {\"code\": \"too_many\", \"message\": \"too many rows\"} if input.response.records > 2\n\
        deny contains \"a secret\" if input.response.message.structuredContent.secret == true\n\
        redact contains {\"field\": \"name\"} if input.response.is_error == false";
    let (_server, gateway) = obliged(rules, |heard| {
        let rows: Vec<Value> = (0..heard.json()["params"]["arguments"]["rows"]
            .as_u64()
            .unwrap())
            .map(|_| json!({"name": "Bob"}))
            .collect();
        let secret = heard.json()["params"]["arguments"]["secret"].clone();
        Say::json(&result(
            heard,
            &json!({"content": [], "structuredContent": {"rows": rows, "secret": secret}}),
        ))
    })
    .await;
    for answer in both(&gateway, json!({"rows": 0, "secret": true})).await {
        assert_eq!(
            answer.code().as_deref(),
            Some("policy_denied"),
            "{answer:?}"
        );
    }
    for answer in both(&gateway, json!({"rows": 3})).await {
        assert_eq!(
            answer.code().as_deref(),
            Some("policy_denied"),
            "{answer:?}"
        );
        assert!(!text(&answer).contains("Bob") && text(&answer).contains("too many rows"));
    }
    for answer in both(&gateway, json!({"rows": 2})).await {
        assert_eq!(answer.code(), None, "{answer:?}");
        assert!(!text(&answer).contains("Bob") && text(&answer).contains("[redacted]"));
    }
    let withheld = gateway
        .record(|record| record["refusal"] == "policy_denied" && record["kind"] == "call.outcome")
        .await;
    assert_eq!(withheld["decision"], "deny");
}

#[tokio::test]
async fn a_call_takes_no_longer_than_policy_lets_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let (_server, gateway) = obliged("timeout contains \"1s\"", move |heard| {
        if heard.json()["params"]["arguments"]["stream"] == true {
            vec![Say::sse(), Say::Until(held.clone())]
        } else {
            vec![Say::Until(held.clone())]
        }
    })
    .await;
    let began = std::time::Instant::now();
    for arguments in [json!({}), json!({"stream": true})] {
        for answer in both(&gateway, arguments).await {
            assert_eq!(
                answer.code().as_deref(),
                Some("upstream_timeout"),
                "{answer:?}"
            );
        }
    }
    assert!(began.elapsed() < Duration::from_secs(60));
    gate.open();
}
