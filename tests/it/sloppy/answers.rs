//! Answers, events and errors that are sloppy where nothing depends on it.

use keepgate_tests::{Client, FakeServer, Say, TestGateway, upstream::said};
use serde_json::{Value, json};

use super::{OPENED, error, session, works};

/// Answers by the text of the id, and whether they are taken for one.
const ANSWERS: [(&str, bool); 19] = [
    (
        r#"{"jsonrpc":"2.0","id":ID,"result":RESULT,"error":null}"#,
        true,
    ),
    (
        r#"{"error":null,"jsonrpc":"2.0","id":ID,"params":null,"result":RESULT}"#,
        true,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"result":RESULT,"acme":{"id":1}}"#,
        true,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[],"_meta":null}}"#,
        true,
    ),
    (r#"{"jsonrpc":"2.0","id":"ID","result":RESULT}"#, true),
    (
        r#"{"jsonrpc":"2.0","id":"ID","result":RESULT,"error":null}"#,
        true,
    ),
    (r#"{"jsonrpc":"2.0","id":ID.0,"result":RESULT}"#, true),
    (
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":RESULT}",
        true,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[],"structuredContent":null,"isError":null}}"#,
        true,
    ),
    // Neither result nor error, or no JSON: refused at once, whatever brings it.
    (r#"{"jsonrpc":"2.0","id":ID}"#, false),
    (r#"{"jsonrpc":"2.0","id":ID,"result":{"a":NaN}}"#, false),
    // A reader may take these for another answer, or for another's.
    (
        r#"{"jsonrpc":"2.0","id":ID,"result":RESULT,"Result":RESULT}"#,
        false,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"result":RESULT,"re\u0073ult":RESULT}"#,
        false,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"result":RESULT,"error":{}}"#,
        false,
    ),
    (
        r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[],"_meta":null,"_meta":{}}}"#,
        false,
    ),
    (r#"{"jsonrpc":"2.0","id":"0ID","result":RESULT}"#, false),
    (r#"{"jsonrpc":"2.0","id":"+ID","result":RESULT}"#, false),
    (r#"{"jsonrpc":"2.0","id":" ID","result":RESULT}"#, false),
    (r#"{"jsonrpc":"2.0","id":"ID.0","result":RESULT}"#, false),
];

#[tokio::test]
async fn members_that_mean_nothing_and_ids_as_texts_cost_no_answer() {
    for (template, is_answer) in ANSWERS {
        for sse in [false, true] {
            let (_server, _gateway, client) = session(move |heard| {
                (heard.method() == "tools/call").then(|| {
                    let text = template.replace("ID", &heard.json()["id"].to_string());
                    let text = text.replace("RESULT", r#"{"content":[]}"#);
                    match sse {
                        true => {
                            Say::http("200 OK", "text/event-stream", &format!("data: {text}\n\n"))
                        }
                        false => Say::http("200 OK", "application/json", &text),
                    }
                })
            })
            .await;
            let answer = client.call("echo", json!({})).await;
            let code = (!is_answer).then_some("upstream_invalid");
            assert_eq!(answer.code().as_deref(), code, "{template}: {answer:?}");
            if is_answer {
                let message = answer.messages().pop().unwrap();
                assert!(message["id"].is_u64(), "{template}: {message}");
                assert_eq!(message["result"]["content"], json!([]), "{template}");
                assert_eq!(message.as_object().unwrap().len(), 3, "{template}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_that_is_no_message_costs_no_answer_unless_it_may_be_one() {
    for (event, is_harmless) in [
        ("ping", true),
        ("{}", true),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/acme","params":{"a":1,"a":2}}"#,
            true,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":null}"#,
            true,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}"#, false),
        (r#"{"jsonrpc":"2.0","id":1,"Error":{}}"#, false),
        (r#"{"jsonrpc":"2.0","id":1,"resu"#, false),
        (r#"{"jsonrpc":"2.0","id":1}"#, false),
        (r#"[{"jsonrpc":"2.0","id":1,"result":{}}"#, false),
        ("[1]", true),
    ] {
        let (_server, _gateway, client) = session(move |heard| {
            (heard.method() == "tools/call").then(|| {
                let answer = said(&heard.json()["id"], "hello");
                let events = format!("data: {event}\n\ndata: {answer}\n\n");
                Say::http("200 OK", "text/event-stream", &events)
            })
        })
        .await;
        let answer = client.call("echo", json!({})).await;
        let code = (!is_harmless).then_some("upstream_invalid");
        assert_eq!(answer.code().as_deref(), code, "{event}: {answer:?}");
    }
}

#[tokio::test]
async fn methods_that_a_server_does_not_advertise_cost_no_session() {
    let (server, _gateway, client) = session(|heard| {
        let asks = ["prompts/", "resources/", "completion/", "logging/"];
        let method = heard.method();
        let is_unknown = asks.iter().any(|theme| method.starts_with(theme));
        is_unknown.then(|| {
            let body = error(&heard.json()["id"], -32601);
            Say::http("200 OK", "application/json", &body)
        })
    })
    .await;
    let complete =
        json!({"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}});
    for (method, params) in [
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("logging/setLevel", json!({"level": "info"})),
        ("completion/complete", complete),
    ] {
        let answer = client.ask(method, params).await;
        assert_eq!(
            answer.json()["error"]["code"],
            -32601,
            "{method}: {answer:?}"
        );
        works(&client, method).await;
    }
    assert_eq!(server.heard_of("initialize").len(), 1);
}

#[tokio::test]
async fn a_result_without_content_passes_and_is_redacted_as_any_other() {
    let policy =
        "package mcp.authz\n\nallow contains \"all\"\n\nredact contains {\"field\": \"SSN\"}\n";
    for result in [
        json!({}),
        json!({"structuredContent": {"SSN": "078-05-1120"}}),
        json!({"isError": true}),
    ] {
        let answered = result.clone();
        let server = FakeServer::with_tools(move |heard| {
            Say::json(&json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": answered}))
        })
        .await;
        let gateway = TestGateway::http(&server.url())
            .policy(policy)
            .start()
            .await;
        let client = Client::new(gateway.addr).initialize(OPENED).await;
        let answer = client.call("echo", json!({})).await;
        assert_eq!((answer.status, answer.code()), (200, None), "{result}");
        let passed = answer.messages().pop().unwrap()["result"].clone();
        assert!(!passed.to_string().contains("078-05"), "{passed}");
        let names = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        let new = names(&passed).into_iter().filter(|name| name != "_meta");
        assert_eq!(new.collect::<Vec<_>>(), names(&result), "{passed}");
    }
}
