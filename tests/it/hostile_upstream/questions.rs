//! What a server asks of the client: sampling, forms, URLs, roots.

use keepgate_tests::{
    Client, Events, FakeServer, Gate, Say, TestGateway,
    client::modern_call,
    upstream::{behave, said},
};
use serde_json::{Value, json};

const NO_SAMPLING: &str = r#"
package mcp.authz

allow contains "tools" if input.tool
allow contains "forms" if {
    input.method == "elicitation/create"
    object.get(input.params, "mode", "form") == "form"
}
"#;

fn question(id: &str, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

/// A server that asks `questions` on the stream of a tool call before it answers, once `gate` is open.
async fn asking(questions: Vec<Value>, gate: &Gate) -> FakeServer {
    let held = gate.clone();
    FakeServer::with_tools(move |heard| {
        let id = heard.json()["id"].clone();
        let mut says = vec![Say::sse()];
        says.extend(questions.iter().map(Say::event));
        says.extend([
            Say::Until(held.clone()),
            Say::event(&said(&id, "done")),
            Say::Close,
        ]);
        says
    })
    .await
}

async fn call(client: &Client) -> Events {
    let body =
        json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo"}});
    Events::of(client.open("POST", body.to_string()).await)
}

#[tokio::test]
async fn trap_11_a_question_policy_denies_is_declined_in_the_clients_stead() {
    let questions = vec![
        question(
            "q1",
            "sampling/createMessage",
            &json!({"messages": [], "includeContext": "allServers", "secret": 1}),
        ),
        question("q2", "roots/list", &json!({})),
        question("q3", "vendor/ask", &json!({})),
        question("q4", "tasks/get", &json!({"taskId": "t"})),
        question("q5", "tools/call", &json!({"name": "delete"})),
    ];
    let gate = Gate::default();
    let server = asking(questions, &gate).await;
    let gateway = TestGateway::http(&server.url())
        .policy(NO_SAMPLING)
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let running = tokio::spawn(async move { call(&client).await.messages().await });
    for id in ["q1", "q2", "q3", "q4", "q5"] {
        let declined = server.hears(|heard| heard.json()["id"] == id).await;
        assert!(declined.json()["error"]["code"].is_i64(), "{declined:?}");
        assert_eq!(
            declined.header("mcp-session-id"),
            Some("upstream-secret-session")
        );
    }
    gate.open();
    // The client has seen nothing of it.
    assert_eq!(running.await.unwrap(), [said(&json!(7), "done")]);
    let records = gateway.records().await;
    let judged: Vec<_> = records
        .iter()
        .filter(|record| record["kind"] == "server_request")
        .collect();
    let denied = |method: &str| {
        judged
            .iter()
            .any(|record| record["method"] == method && record["decision"] == "deny")
    };
    assert!(
        denied("sampling/createMessage") && denied("roots/list"),
        "{judged:#?}"
    );
}

#[tokio::test]
async fn trap_19_a_question_is_answered_once_and_only_in_its_session() {
    let gate = Gate::default();
    let server = asking(
        vec![question(
            "q1",
            "elicitation/create",
            &json!({"message": "sure?", "requestedSchema": {}}),
        )],
        &gate,
    )
    .await;
    let gateway = TestGateway::http(&server.url())
        .policy(NO_SAMPLING)
        .start()
        .await;
    let asked = Client::new(gateway.addr).initialize("2025-11-25").await;
    let other = Client::new(gateway.addr).initialize("2025-11-25").await;
    let mut events = call(&asked).await;
    assert_eq!(events.message().await.unwrap()["id"], "q1");
    let answer = |id: &Value, content: &str| {
        json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"a": content}}}).to_string()
    };
    for (client, id) in [
        (&other, json!("q1")),
        (&asked, json!("q2")),
        (&asked, json!(1)),
        (&other, json!(7)),
    ] {
        let refused = client.post(answer(&id, "forged")).await;
        assert_eq!(
            (refused.status, refused.code().as_deref()),
            (400, Some("response_foreign")),
            "{id}"
        );
    }
    assert_eq!(asked.post(answer(&json!("q1"), "honest")).await.status, 202);
    let second = asked.post(answer(&json!("q1"), "second thoughts")).await;
    assert_eq!(
        (second.status, second.code().as_deref()),
        (400, Some("response_foreign"))
    );
    gate.open();
    assert_eq!(
        events.message().await.unwrap()["result"]["content"][0]["text"],
        "done"
    );
    let answers: Vec<_> = server
        .heard()
        .into_iter()
        .filter(|heard| heard.json().get("result").is_some())
        .collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].json()["result"]["content"]["a"], "honest");
    let refusals = gateway.refusals().await;
    assert_eq!(refusals, vec!["response_foreign"; 5]);
}

#[tokio::test]
async fn trap_19_a_question_with_an_id_that_waits_already_is_not_asked_twice() {
    let gate = Gate::default();
    let form = json!({"message": "sure?", "requestedSchema": {}});
    let again = vec![
        question("q1", "elicitation/create", &form),
        question("q1", "elicitation/create", &json!({"message": "other"})),
    ];
    let server = asking(again, &gate).await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    gate.open();
    let messages = call(&client).await.messages().await;
    let asked = messages
        .iter()
        .filter(|message| message["id"] == "q1")
        .count();
    assert_eq!((asked, messages.len()), (1, 2), "{messages:?}");
}

#[tokio::test]
async fn trap_11_questions_inside_a_result_are_judged() {
    let results = [
        (
            json!({"q": {"method": "sampling/createMessage", "params": {"secret": 1}}}),
            Some("policy_denied"),
        ),
        (
            json!({"f": {"method": "elicitation/create", "params": {"message": "ok"}}, "q": {"method": "roots/list"}}),
            Some("policy_denied"),
        ),
        (
            json!({"u": {"method": "elicitation/create", "params": {"mode": "url", "url": "https://secret.example"}}}),
            Some("policy_denied"),
        ),
        (
            json!({"q": {"method": "tools/call", "params": {"name": "secret"}}}),
            Some("upstream_invalid"),
        ),
        (
            json!({"q": {"params": {"secret": 1}}}),
            Some("upstream_invalid"),
        ),
        (
            json!({"f": {"method": "elicitation/create", "params": {"message": "ok"}}}),
            None,
        ),
    ];
    for (questions, code) in results {
        let asked = questions.clone();
        let server = FakeServer::with_tools(move |heard| {
            let result = json!({"resultType": "input_required", "inputRequests": asked, "requestState": "sealed"});
            Say::json(&json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": result}))
        })
        .await;
        let gateway = TestGateway::http(&server.url())
            .policy(NO_SAMPLING)
            .start()
            .await;
        let answer = Client::new(gateway.addr)
            .call_modern("echo", json!({}))
            .await;
        assert_eq!(answer.code().as_deref(), code, "{questions} {answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
        if code.is_none() {
            assert_eq!(answer.json()["result"]["requestState"], "sealed");
        }
    }
}

#[tokio::test]
async fn trap_11_a_url_asked_for_by_error_is_judged_like_any_other() {
    for (way, status) in [
        ("json", "200 OK"),
        ("sse", "200 OK"),
        ("json", "400 Bad Request"),
    ] {
        let server = FakeServer::with_tools(move |heard| {
            let asked = json!([{"mode": "url", "elicitationId": "e", "url": "https://secret.example", "message": "log in"}]);
            let error = json!({"jsonrpc": "2.0", "id": heard.json()["id"],
                "error": {"code": -32042, "message": "secret", "data": {"elicitations": asked}}});
            match way {
                "sse" => Say::sse_whole(&[error]),
                _ => Say::http(status, "application/json", &error.to_string()),
            }
        })
        .await;
        let gateway = TestGateway::http(&server.url())
            .policy(NO_SAMPLING)
            .start()
            .await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let answer = client.call("echo", json!({})).await;
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("secret"),
            "{way} {status} {answer:?}"
        );
        let allowed = TestGateway::http(&server.url()).start().await;
        let client = Client::new(allowed.addr).initialize("2025-11-25").await;
        let answer = client.call("echo", json!({})).await;
        assert_eq!(
            String::from_utf8_lossy(&answer.body).contains("secret"),
            status == "200 OK"
        );
    }
}

#[tokio::test]
async fn a_question_on_the_listening_stream_is_judged_too() {
    let server = FakeServer::start(|heard| match heard.verb.as_str() {
        "GET" => Say::sse_whole(&[
            question("q1", "sampling/createMessage", &json!({})),
            question("q2", "elicitation/create", &json!({"message": "sure?"})),
            question("q3", "ping", &json!({})),
        ]),
        _ => behave(heard).unwrap_or_default(),
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .policy(NO_SAMPLING)
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let messages = Events::of(client.open("GET", "").await).messages().await;
    let ids: Vec<_> = messages
        .iter()
        .map(|message| message["id"].clone())
        .collect();
    assert_eq!(ids, ["q2", "q3"]);
    let declined = server.hears(|heard| heard.json()["id"] == "q1").await;
    assert!(declined.json()["error"].is_object());
}

#[tokio::test]
async fn answers_on_a_retry_go_upstream_as_they_are() {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let mut body = modern_call("echo", &json!({}));
    body["params"]["requestState"] = json!("sealed \u{e9}");
    body["params"]["inputResponses"] = json!({"f": {"action": "accept"}});
    let client = Client::new(gateway.addr).modern("tools/call", Some("echo"));
    assert_eq!(client.post(body.to_string()).await.status, 200);
    // But for the id, which is ours.
    assert_eq!(
        server.heard_of("tools/call")[0].under("7"),
        body.to_string()
    );
}

/// More questions that are declined than are answered at once, on one stream: each answer is a connection.
#[tokio::test]
async fn questions_without_end_take_few_connections_and_end_their_stream() {
    let server = FakeServer::start(|heard| {
        let message = heard.json();
        match message["method"].as_str() {
            // An answer to a question is never taken.
            None if heard.verb == "POST" => vec![Say::Hang],
            Some("tools/call") => {
                let ask = |number: usize| {
                    let question = question(
                        &format!("q{number}"),
                        "sampling/createMessage",
                        &json!({"messages": []}),
                    );
                    Say::event(&question)
                };
                let mut says = vec![Say::sse()];
                says.extend((0..200).map(ask));
                says.push(Say::Hang);
                says
            }
            Some(_) | None => behave(heard).unwrap_or_default(),
        }
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .policy(NO_SAMPLING)
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let messages = call(&client).await.messages().await;
    let [ended] = messages.as_slice() else {
        panic!("{messages:?}");
    };
    let data = &ended["error"]["data"];
    assert_eq!(data["code"], "upstream_flood", "{ended}");
    assert!(ended.to_string().contains("16 questions"), "{ended}");
    let answers = server.heard();
    let answers = answers.iter().filter(|heard| {
        let message = heard.json();
        heard.verb == "POST" && message.get("method").is_none()
    });
    assert!(answers.count() <= 16);
    // Others have their places.
    let other = Client::new(gateway.addr).initialize("2025-11-25").await;
    assert_eq!(other.ask("tools/list", json!({})).await.status, 200);
}
