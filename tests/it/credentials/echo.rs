//! A server that sends its credential back: nobody sees it, and it is on record.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use keepgate_call::ServerName;
use keepgate_credential::{Form, MASK};
use keepgate_tests::{Client, Events, FakeServer, Gate, Heard, Say, TestGateway, upstream::said};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SECRET, private, servers::guarded, wanted};

/// A gateway in front of a server that answers tool calls by `script`.
async fn gateway(
    script: impl Fn(&Heard) -> Vec<Say> + Send + Sync + 'static,
) -> (TestGateway, TempDir) {
    let server = FakeServer::with_tools(script).await;
    guarded(&server).await
}

/// Whether any part of the secret that is no chance is in `text`.
fn leaks(text: &str) -> bool {
    let parts = SECRET.as_bytes().windows(6);
    let mut parts = parts.map(|part| std::str::from_utf8(part).unwrap());
    parts.any(|part| text.contains(part))
}

#[tokio::test]
async fn an_echo_in_a_result_is_masked_in_every_encoding() {
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let forms = [
        SECRET.to_owned(),
        format!("authorization: Bearer {SECRET}"),
        STANDARD.encode(format!("user:{SECRET}")),
        hex,
        "x7Qp-2LdV9mZ_kTa81%2BcReW%2F45%3D".to_owned(),
        json!({"headers": {"authorization": format!("Bearer {SECRET}")}}).to_string(),
    ];
    for form in forms {
        let said_form = form.clone();
        let (gateway, _directory) =
            gateway(move |heard| Say::json(&said(&heard.json()["id"], &said_form))).await;
        let answer = Client::new(gateway.addr)
            .call_modern("echo", json!({}))
            .await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{body}");
        assert!(
            body.contains(MASK) && !body.contains(&form) && !leaks(&body),
            "{body}"
        );
        let outcome = gateway
            .record(|record| record["kind"] == "call.outcome" && record["tool_name"] == "echo")
            .await;
        assert_eq!(outcome["cred"]["masked"], 1, "{outcome}");
        let metrics = gateway.gateway.shared().meters.text();
        assert!(metrics.contains("keepgate_credential_masked"), "{metrics}");
    }
}

#[tokio::test]
async fn an_echo_in_an_error_body_is_masked() {
    let (gateway, _directory) = gateway(|heard| {
        let body = json!({"jsonrpc": "2.0", "id": heard.json()["id"], "error": {"code": -32602,
            "message": format!("bad token {SECRET}"), "data": {"seen": [SECRET]}}});
        Say::http("400 Bad Request", "application/json", &body.to_string())
    })
    .await;
    let answer = Client::new(gateway.addr)
        .call_modern("echo", json!({}))
        .await;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 400, "{body}");
    assert!(
        body.contains(&format!("bad token {MASK}")) && !leaks(&body),
        "{body}"
    );
}

/// The secret as JSON text holds it between quotes, each character in an escape of one kind or of several.
fn escaped() -> Vec<String> {
    let ways: [fn(usize, u8) -> String; 9] = [
        |_, byte| format!("%{byte:02x}"),
        |_, byte| format!("%{byte:02X}"),
        |_, byte| format!("\\u{byte:04x}"),
        |_, byte| format!("\\\\u{byte:04X}"),
        |_, byte| format!("\\u0025{byte:02x}"),
        |_, byte| format!("%25{byte:02x}"),
        |_, byte| format!("&#{byte};"),
        |_, byte| format!("%5Cu{byte:04x}"),
        |at, byte| match at % 5 {
            0 => format!("%{byte:02x}"),
            1 => format!("\\u{byte:04x}"),
            2 => format!("\\\\u{byte:04x}"),
            3 => format!("&#x{byte:x};"),
            _ => char::from(byte).to_string(),
        },
    ];
    let each = |way: fn(usize, u8) -> String| {
        let bytes = SECRET.bytes().enumerate();
        bytes.map(|(at, byte)| way(at, byte)).collect()
    };
    ways.map(each).to_vec()
}

#[tokio::test]
async fn an_echo_in_escapes_is_masked_wherever_it_stands() {
    // The hole, what is asked, and the rest of what is answered. A number in it, to see that nothing else changes.
    let places = [
        (
            "tools/call",
            r#""result":{"content":[{"type":"text","text":"say HOLE, 1.50"}],"isError":false}"#,
        ),
        (
            "resources/read",
            r#""result":{"contents":[{"uri":"file:///a","text":"{\"say\": \"HOLE\", \"n\": 1.50}"}]}"#,
        ),
        (
            "tools/call",
            r#""error":{"code":-32602,"message":"say HOLE, 1.50","data":{"HOLE":["HOLE",1.50]}}"#,
        ),
        (
            "prompts/get",
            r#""result":{"messages":[{"role":"user","content":{"type":"text","text":"\u00e9 HOLE 1.50"}}]}"#,
        ),
    ];
    for (method, rest) in places {
        for form in escaped() {
            for as_event in [false, true] {
                let answer = rest.replace("HOLE", &form);
                let server = FakeServer::start(move |heard| {
                    if heard.method() != method {
                        return keepgate_tests::upstream::behave(heard).unwrap_or_default();
                    }
                    let body = format!(
                        r#"{{"jsonrpc":"2.0","id":{},{answer}}}"#,
                        heard.json()["id"]
                    );
                    let event = format!("data: {body}\n\n");
                    match as_event {
                        true => Say::http("200 OK", "text/event-stream", &event),
                        false => Say::http("200 OK", "application/json", &body),
                    }
                })
                .await;
                let (gateway, _directory) = guarded(&server).await;
                let client = Client::new(gateway.addr).initialize("2025-11-25").await;
                let asked = json!({"name": "echo", "arguments": {}, "uri": "file:///a"});
                let answer = client.ask(method, asked).await;
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                let expected = rest.replace("HOLE", MASK);
                assert!(body.contains(&expected), "{method} {form}: {body}");
            }
        }
    }
}

#[tokio::test]
async fn an_echo_split_over_events_is_masked_and_the_stream_flows() {
    let gate = Gate::default();
    let until = gate.clone();
    let (gateway, _directory) = gateway(move |heard| {
        let progress = |text: &str| {
            let mut said = heard.progress(1);
            said["params"]["message"] = text.into();
            Say::event(&said)
        };
        let (first, rest) = SECRET.split_at(10);
        let (second, third) = rest.split_at(9);
        vec![
            Say::sse(),
            progress("working"),
            Say::Until(until.clone()),
            progress(&format!("token={first}")),
            progress(second),
            progress(&format!("{third} and on")),
            Say::event(&said(&heard.json()["id"], &format!("it was {SECRET}"))),
            Say::Close,
        ]
    })
    .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {}, "_meta": {"progressToken": "p"}}});
    let mut events = Events::of(client.open("POST", body.to_string()).await);
    // Nothing is held back: this comes while the server waits for us.
    let working = events.message().await.unwrap();
    assert_eq!(working["params"]["message"], "working");
    gate.open();
    let mut shown = Vec::new();
    while let Some(message) = events.message().await {
        assert!(!leaks(&message.to_string()), "{message}");
        let text = message
            .pointer("/params/message")
            .or_else(|| message.pointer("/result/content/0/text"));
        shown.push(text.and_then(Value::as_str).unwrap().to_owned());
    }
    assert_eq!(
        shown,
        [
            format!("token={MASK}"),
            MASK.to_owned(),
            format!("{MASK} and on"),
            format!("it was {MASK}"),
        ]
    );
    let outcome = gateway
        .record(|record| record["kind"] == "call.outcome" && record["tool_name"] == "echo")
        .await;
    assert_eq!(outcome["cred"]["masked"], 4, "{outcome}");
}

#[tokio::test]
async fn an_echo_in_a_listed_tool_or_a_question_is_masked() {
    let server = FakeServer::start(|heard| {
        if heard.method() == "tools/list" {
            let tools = json!([{"name": "echo", "description": format!("use {SECRET}"), "inputSchema": {"type": "object"}}]);
            return Say::json(&json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": {"tools": tools}}));
        }
        keepgate_tests::upstream::behave(heard).unwrap_or_default()
    })
    .await;
    let (gateway, _directory) = guarded(&server).await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let answer = client.ask("tools/list", json!({})).await;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        body.contains(&format!("use {MASK}")) && !leaks(&body),
        "{body}"
    );
}

#[tokio::test]
async fn an_echo_in_a_method_or_an_id_is_not_passed_on() {
    let (gateway, _directory) = gateway(|heard| {
        vec![
            Say::sse(),
            Say::event(&json!({"jsonrpc": "2.0", "method": format!("notifications/{SECRET}")})),
            Say::event(&said(&heard.json()["id"], "done")),
            Say::Close,
        ]
    })
    .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "arguments": {}}});
    let answer = client.raw(
        format!(
            "POST /up/mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-session-id: {}\r\nmcp-protocol-version: 2025-11-25\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            gateway.addr,
            client.sent("mcp-session-id").unwrap(),
            body.to_string().len()
        )
        .as_bytes(),
        std::time::Duration::from_secs(10),
    )
    .await;
    assert!(!leaks(&answer), "{answer}");
}

#[tokio::test]
async fn a_secret_of_one_server_is_masked_in_answers_of_another() {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], SECRET))).await;
    let directory = TempDir::new().unwrap();
    let text = private(directory.path(), "crm", SECRET);
    let gateway = TestGateway::http(&server.url())
        .with(|settings| {
            let other = settings.servers.values().next().unwrap().clone();
            settings
                .servers
                .insert(ServerName::parse("other").unwrap(), other);
            let up = settings
                .servers
                .get_mut(&ServerName::parse("up").unwrap())
                .unwrap();
            up.credentials = vec![wanted(&text, Form::Bearer)];
        })
        .start()
        .await;
    let up = Client::new(gateway.addr);
    let other = Client::new(gateway.addr).path("/other/mcp");
    let said = |answer: keepgate_tests::Answer| String::from_utf8_lossy(&answer.body).into_owned();
    // Before any call has needed it: files are read at the start.
    let masked = async {
        while !said(other.call_modern("echo", json!({})).await).contains(MASK) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(keepgate_tests::PATIENCE, masked)
        .await
        .expect("the secret is searched for");
    assert!(said(up.call_modern("echo", json!({})).await).contains(MASK));
    assert_eq!(
        server
            .heard_of("tools/call")
            .pop()
            .unwrap()
            .header("authorization")
            .map(str::len),
        Some(34)
    );
    let body = said(other.call_modern("echo", json!({})).await);
    assert!(body.contains(MASK) && !leaks(&body), "{body}");
    assert_eq!(
        server
            .heard_of("tools/call")
            .pop()
            .unwrap()
            .header("authorization"),
        None
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_echo_is_masked_in_an_answer_and_in_an_event() {
    let large = format!("{}{SECRET}", "many words and then ".repeat(10_000));
    let hostile = STANDARD.encode(SECRET.repeat(10_000));
    for text in [large, hostile] {
        let (whole, event) = (text.clone(), text);
        let (gateway, _directory) = gateway(move |heard| {
            let id = &heard.json()["id"];
            if heard.json()["params"]["arguments"]["stream"].is_null() {
                return Say::json(&said(id, &whole));
            }
            vec![
                Say::sse(),
                Say::event(&json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "info", "data": event}})),
                Say::event(&said(id, &event)),
                Say::Close,
            ]
        })
        .await;
        for arguments in [json!({}), json!({"stream": true})] {
            let answer = Client::new(gateway.addr)
                .call_modern("echo", arguments)
                .await;
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(
                answer.status == 200 && body.contains(MASK),
                "{}",
                body.len()
            );
            assert!(
                !leaks(&body) && !body.contains("eDdRcC0y"),
                "{}",
                body.len()
            );
        }
    }
}
