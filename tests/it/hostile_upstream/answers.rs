//! Answers that are lost, late, too long, encoded, foreign, redirected, or meant for somebody else.

use std::time::Duration;

use keepgate_store::kill::Scope;
use keepgate_tests::{
    Answer, Client, FakeServer, Say, TestGateway,
    upstream::{behave, said},
};
use serde_json::{Value, json};

use super::{hostile, outcome};

/// Answers a tool call with `says`, in both eras, and asserts that nothing of it comes through.
async fn withheld(says: impl Fn(&Value) -> Vec<Say> + Send + Sync + 'static, code: &str) {
    let (server, gateway, client) = hostile(move |heard| says(&heard.json()["id"])).await;
    for answer in [
        client.call("echo", json!({})).await,
        Client::new(gateway.addr)
            .call_modern("echo", json!({}))
            .await,
    ] {
        assert_eq!(answer.code().as_deref(), Some(code), "{answer:?}");
        let message = answer.messages().pop().unwrap_or_default();
        assert_eq!(message["id"], 7);
        assert!(!text(&answer).contains("secret"), "{answer:?}");
    }
    assert_eq!(server.heard_of("tools/call").len(), 2);
    let outcome = outcome(&gateway).await;
    assert_eq!(
        (&outcome["refusal"], &outcome["result"]["status"]),
        (&json!(code), &json!("upstream_failed"))
    );
}

fn text(answer: &Answer) -> String {
    format!(
        "{:?} {}",
        answer.headers,
        String::from_utf8_lossy(&answer.body)
    )
}

fn head(rest: &str) -> Say {
    Say::text(&format!("HTTP/1.1 200 OK\r\n{rest}\r\n\r\n"))
}

#[tokio::test]
async fn trap_24_a_call_whose_answer_is_lost_is_never_made_again() {
    withheld(|_| vec![Say::Close], "upstream_unreachable").await;
}

#[tokio::test]
async fn trap_24_a_call_on_a_resting_connection_that_dies_is_made_once() {
    // The first call leaves a connection that rests; the second is read on it and never answered.
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let (server, _gateway, client) =
        hostile(
            move |heard| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => Say::json(&said(&heard.json()["id"], "first")),
                _ => vec![Say::Close],
            },
        )
        .await;
    assert_eq!(client.call("echo", json!({})).await.code(), None);
    let lost = client.call("echo", json!({})).await;
    assert_eq!(lost.code().as_deref(), Some("upstream_unreachable"));
    assert_eq!(server.heard_of("tools/call").len(), 2);
}

#[tokio::test]
async fn trap_24_redirects_are_not_followed() {
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let target =
            FakeServer::start(|heard| Say::json(&said(&heard.json()["id"], "secret"))).await;
        let location = target.url();
        withheld(
            move |_| {
                vec![Say::text(&format!(
                    "HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
                ))]
            },
            "upstream_refused",
        )
        .await;
        assert!(target.heard().is_empty());
    }
}

#[tokio::test]
async fn trap_26_html_errors_stay_inside() {
    for status in [
        "400 Bad Request",
        "404 Not Found",
        "500 Oops",
        "502 Bad Gateway",
        "503 Later",
    ] {
        let (_server, gateway, client) =
            hostile(move |_| Say::http(status, "text/html", "<h1>secret</h1>")).await;
        let modern = Client::new(gateway.addr)
            .call_modern("echo", json!({}))
            .await;
        assert_eq!(
            modern.code().as_deref(),
            Some("upstream_refused"),
            "{status} {modern:?}"
        );
        assert!(!text(&modern).contains("secret"));
        // In a session a 404 says one thing more: the server has forgotten it.
        let code = if status.starts_with("404") {
            "session_unknown"
        } else {
            "upstream_refused"
        };
        assert_eq!(
            client.call("echo", json!({})).await.code().as_deref(),
            Some(code)
        );
    }
}

#[tokio::test]
async fn trap_26_a_json_rpc_4xx_comes_through_byte_for_byte() {
    let body = "{ \"jsonrpc\":\"2.0\",\"id\" : 7,\n\"error\":{\"code\":-32022,\"message\":\"no\",\"data\":{\"supported\":[\"2026-07-28\"],\"n\":1.0}} }";
    let (_server, gateway, client) = hostile(move |heard| {
        let body = body.replace(" 7,", &format!(" {},", heard.json()["id"]));
        Say::http("400 Bad Request", "application/json", &body)
    })
    .await;
    for answer in [
        client.call("echo", json!({})).await,
        Client::new(gateway.addr)
            .call_modern("echo", json!({}))
            .await,
    ] {
        assert_eq!(answer.status, 400);
        assert_eq!(String::from_utf8_lossy(&answer.body), body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn trap_26_a_4xx_that_is_no_error_for_this_request_stays_inside() {
    for body in [
        json!({"jsonrpc": "2.0", "id": 8, "error": {"code": -1, "message": "secret"}}).to_string(),
        json!({"id": "7", "jsonrpc": "2.0", "error": {"code": -1, "message": "secret"}})
            .to_string(),
        json!({"jsonrpc": "2.0", "id": 7, "result": {"secret": 1}}).to_string(),
        json!({"jsonrpc": "2.0", "id": 7, "method": "secret"}).to_string(),
        json!({"secret": 1}).to_string(),
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":1,\"code\":2,\"message\":\"secret\"}}"
            .to_owned(),
    ] {
        withheld(
            move |id| {
                let body = body.replace(":7,", &format!(":{id},"));
                Say::http("400 Bad Request", "application/json", &body)
            },
            "upstream_refused",
        )
        .await;
    }
}

#[tokio::test]
async fn the_servers_401_is_between_it_and_the_gateway() {
    for status in [
        "401 Unauthorized",
        "403 Forbidden",
        "407 Proxy Authentication Required",
    ] {
        let body = json!({"jsonrpc": "2.0", "id": 7, "error": {"code": -1, "message": "secret"}})
            .to_string();
        withheld(
            move |_| {
                let head = format!("HTTP/1.1 {status}\r\nwww-authenticate: Bearer resource_metadata=\"http://secret\"\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
                vec![Say::text(&(head + &body))]
            },
            "upstream_refused",
        )
        .await;
    }
}

#[tokio::test]
async fn trap_30_answers_that_cannot_be_read_are_withheld() {
    let whole = |id: &Value| said(id, "secret").to_string();
    let json = |body: String| Say::http("200 OK", "application/json", &body);
    withheld(move |id| json(whole(id) + "{}"), "upstream_invalid").await;
    withheld(move |_| json(whole(&json!(8))), "upstream_invalid").await;
    withheld(
        move |id| json(whole(&json!(format!("0{id}")))),
        "upstream_invalid",
    )
    .await;
    withheld(move |_| json(whole(&json!(7))), "upstream_invalid").await;
    withheld(
        move |id| json(format!("[{}]", whole(id))),
        "upstream_invalid",
    )
    .await;
    withheld(
        move |id| json(whole(id).replace("\"id\"", "\"result\":{},\"id\"")),
        "upstream_invalid",
    )
    .await;
    let question =
        r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{"secret":1}}"#;
    withheld(move |_| json(question.to_owned()), "upstream_invalid").await;
    withheld(move |_| json("\"secret\"".to_owned()), "upstream_invalid").await;
    withheld(move |_| json(String::new()), "upstream_invalid").await;
    withheld(
        move |id| Say::http("200 OK", "text/html", &whole(id)),
        "upstream_invalid",
    )
    .await;
    withheld(
        |_| Say::http("202 Accepted", "text/plain", ""),
        "upstream_invalid",
    )
    .await;
    withheld(
        |_| Say::http("204 No Content", "text/plain", ""),
        "upstream_invalid",
    )
    .await;
    withheld(
        move |id| {
            let mut body = whole(id).into_bytes();
            body.push(0xff);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            vec![Say::text(&head), Say::Bytes(body)]
        },
        "upstream_invalid",
    )
    .await;
}

#[tokio::test]
async fn trap_30_answers_framed_falsely_are_withheld() {
    let whole = |id: &Value| said(id, "secret").to_string();
    // A bomb: a hundred times its size and more.
    withheld(
        move |id| {
            let mut bomb = whole(id).into_bytes();
            bomb.resize(8 << 20, b' ');
            gzipped("application/json", &bomb)
        },
        "upstream_invalid",
    )
    .await;
    // Encoded as nobody reads it.
    withheld(
        move |id| {
            let body = whole(id);
            let length = body.len();
            let head = head(&format!(
                "content-type: application/json\r\ncontent-encoding: br\r\ncontent-length: {length}"
            ));
            vec![head, Say::text(&body)]
        },
        "upstream_invalid",
    )
    .await;
    // No gzip, although the head announces it.
    withheld(move |id| vec![head(&format!("content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}", whole(id).len())), Say::text(&whole(id))], "upstream_invalid").await;
    // Cut off before the announced length.
    withheld(
        move |id| {
            vec![
                head("content-type: application/json\r\ncontent-length: 9999"),
                Say::text(&whole(id)),
                Say::Close,
            ]
        },
        "upstream_invalid",
    )
    .await;
    // Announced shorter than it is: the rest would be the next answer.
    withheld(
        move |id| {
            vec![
                head("content-type: application/json\r\ncontent-length: 20"),
                Say::text(&whole(id)),
                Say::Close,
            ]
        },
        "upstream_invalid",
    )
    .await;
    // Chunks that are none.
    withheld(
        move |id| {
            vec![
                head("content-type: application/json\r\ntransfer-encoding: chunked"),
                Say::text(&format!("zz\r\n{}\r\n0\r\n\r\n", whole(id))),
                Say::Close,
            ]
        },
        "upstream_invalid",
    )
    .await;
}

/// An answer as gzip.
fn gzipped(media: &str, body: &[u8]) -> Vec<Say> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    let body = encoder.finish().unwrap();
    let length = body.len();
    vec![
        head(&format!(
            "content-type: {media}\r\ncontent-encoding: gzip\r\ncontent-length: {length}"
        )),
        Say::Bytes(body),
    ]
}

#[tokio::test]
async fn gzip_nobody_asked_for_is_read_and_what_is_in_it_is_evaluated() {
    for (media, open, close) in [
        ("application/json", "", ""),
        ("text/event-stream", "data: ", "\n\n"),
    ] {
        let (_server, _gateway, client) = hostile(move |heard| {
            let id = heard.json()["id"].clone();
            let foreign = heard.body.contains("foreign");
            let id = if foreign { json!("another") } else { id };
            let body = format!("{open}{}{close}", said(&id, "done"));
            gzipped(media, body.as_bytes())
        })
        .await;
        let answer = client.call("echo", json!({"message": "x"})).await;
        assert_eq!(
            answer.messages()[0]["result"]["content"][0]["text"],
            "done",
            "{media}: {answer:?}"
        );
        // What belongs to another call is seen within it.
        let answer = client.call("echo", json!({"message": "foreign"})).await;
        assert!(answer.code().is_some(), "{media}: {answer:?}");
    }
}

#[tokio::test]
async fn a_second_answer_on_one_connection_is_nobodys() {
    let (_server, _gateway, client) = hostile(|heard| {
        let id = heard.json()["id"].clone();
        let one = |text: &str| Say::json(&said(&id, text));
        // In one write: what comes only after the next request is sent cannot be told from its answer by anybody.
        let mut both = Vec::new();
        for say in one("right").into_iter().chain(one("secret")) {
            if let Say::Bytes(bytes) = say {
                both.extend(bytes);
            }
        }
        vec![Say::Bytes(both)]
    })
    .await;
    for _ in 0..3 {
        let answer = client.call("echo", json!({})).await;
        assert_eq!(
            answer.json()["result"]["content"][0]["text"],
            "right",
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_over_the_cap_is_withheld() {
    let server = FakeServer::with_tools(|heard| {
        Say::json(&said(&heard.json()["id"], &"secret".repeat(1000)))
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| settings.limits.result = 4000)
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let answer = client.call("echo", json!({})).await;
    assert_eq!(answer.code().as_deref(), Some("upstream_invalid"));
    assert_eq!(answer.json()["error"]["data"]["limit"], "limits.result");
    assert!(!text(&answer).contains("secret"));
}

/// The same message is taken or refused by the same limit, whether it comes as a body or as an event; a lone surrogate in it
/// costs nobody the answer of a call that was made.
#[tokio::test]
async fn an_answer_is_measured_alike_in_every_form() {
    type Form = fn(&Value) -> Vec<Say>;
    let forms: [Form; 2] = [Say::json, |answer| {
        Say::sse_whole(std::slice::from_ref(answer))
    }];
    for form in forms {
        let server = FakeServer::with_tools(move |heard| {
            let asked = heard.json()["params"]["arguments"]["bytes"].as_u64();
            let text = "x".repeat(asked.unwrap() as usize);
            form(&said(&heard.json()["id"], &text))
        })
        .await;
        let gateway = TestGateway::http(&server.url())
            .with(|settings| settings.limits.result = 4 << 20)
            .start()
            .await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        for (bytes, code) in [
            (600 << 10, None),
            (3 << 20, None),
            (5 << 20, Some("upstream_invalid")),
        ] {
            let answer = client.call("echo", json!({"bytes": bytes})).await;
            let messages = answer.messages();
            let message = messages.first().cloned().unwrap_or_else(|| answer.json());
            assert_eq!(message["error"]["data"]["code"].as_str(), code, "{bytes}");
            if code.is_some() {
                assert_eq!(message["error"]["data"]["limit"], "limits.result");
            }
        }
    }
}

#[tokio::test]
async fn half_of_a_surrogate_pair_costs_nobody_an_answer() {
    let half = |id: &Value| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"a\ud83d"}}]}}}}"#
        )
    };
    for is_event in [false, true] {
        let server = FakeServer::with_tools(move |heard| {
            let body = half(&heard.json()["id"]);
            match is_event {
                false => Say::http("200 OK", "application/json", &body),
                true => Say::http("200 OK", "text/event-stream", &format!("data: {body}\n\n")),
            }
        })
        .await;
        let gateway = TestGateway::http(&server.url()).start().await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let answer = client.call("echo", json!({})).await;
        assert_eq!(answer.code(), None, "{answer:?}");
        assert!(text(&answer).contains("a\\ufffd"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_and_hung_up_on() {
    for hang in [
        vec![Say::Hang],
        vec![
            head("content-type: application/json\r\ncontent-length: 100"),
            Say::text("{\"jsonrpc\""),
            Say::Hang,
        ],
    ] {
        let server = FakeServer::with_tools(move |_| hang.clone()).await;
        let gateway = TestGateway::http(&server.url())
            .timeouts(|timeouts| timeouts.request = Duration::from_millis(200))
            .start()
            .await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let answer = client.call("echo", json!({})).await;
        assert_eq!(
            answer.code().as_deref(),
            Some("upstream_timeout"),
            "{answer:?}"
        );
        server.is_hung_up_on(1).await;
        assert_eq!(server.heard_of("tools/call").len(), 1);
        assert_eq!(outcome(&gateway).await["refusal"], "upstream_timeout");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_to_be_so() {
    let server = FakeServer::start(|_| vec![]).await;
    let gateway = TestGateway::http("http://127.0.0.1:1/mcp").start().await;
    let answer = Client::new(gateway.addr)
        .call_modern("echo", json!({}))
        .await;
    assert_eq!(answer.code().as_deref(), Some("upstream_unreachable"));
    assert!(!text(&answer).contains("127.0.0.1:1"), "{answer:?}");
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn trap_28_no_header_of_the_server_reaches_the_client() {
    let (_server, gateway, client) = hostile(|heard| {
        let body = said(&heard.json()["id"], "hello").to_string();
        vec![Say::text(&format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: secret=1\r\nmcp-session-id: secret\r\nserver: secret\r\nx-secret: 1\r\nlocation: http://secret\r\naccess-control-allow-origin: *\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))]
    })
    .await;
    for answer in [
        client.call("echo", json!({})).await,
        Client::new(gateway.addr)
            .call_modern("echo", json!({}))
            .await,
    ] {
        assert_eq!(answer.status, 200);
        let names: Vec<&str> = answer
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .collect();
        assert_eq!(names, ["content-type", "content-length", "date"]);
    }
}

#[tokio::test]
async fn trap_30_a_list_that_cannot_be_read_is_withheld() {
    for tools in [
        json!([{"name": 7}, {"name": "echo"}]),
        json!({"secret": {}}),
        json!(["secret"]),
        json!("secret"),
        Value::Null,
    ] {
        let server = FakeServer::start(move |heard| {
            if heard.method() == "tools/list" {
                let id = heard.json()["id"].clone();
                return Say::json(
                    &json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools, "secret": 1}}),
                );
            }
            behave(heard).unwrap_or_else(|| vec![Say::Close])
        })
        .await;
        let gateway = TestGateway::http(&server.url()).start().await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let answer = client.ask("tools/list", json!({})).await;
        assert_eq!(
            answer.code().as_deref(),
            Some("upstream_invalid"),
            "{answer:?}"
        );
        assert!(!text(&answer).contains("secret"));
        let call = client.call("echo", json!({})).await;
        assert!(call.json()["error"]["code"].is_i64(), "{call:?}");
        assert!(server.heard_of("tools/call").is_empty());
    }
}

#[tokio::test]
async fn tools_whose_names_no_kill_could_name_are_neither_shown_nor_called() {
    let longest = "x".repeat(512);
    let wrong = [
        String::new(),
        "line\nbreak".to_owned(),
        "nul\0".to_owned(),
        "c1\u{85}".to_owned(),
        format!("{longest}x"),
    ];
    let names: Vec<String> = wrong
        .iter()
        .cloned()
        .chain(["echo".to_owned(), longest.clone()])
        .collect();
    let server = FakeServer::start({
        let names = names.clone();
        move |heard| {
            let id = heard.json()["id"].clone();
            if heard.method() == "tools/list" {
                let tools = names
                    .iter()
                    .map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
                let tools: Vec<Value> = tools.collect();
                return Say::json(&json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools}}));
            }
            behave(heard).unwrap_or_else(|| Say::json(&said(&id, "done")))
        }
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let list = client.ask("tools/list", json!({})).await.json();
    let shown = list["result"]["tools"].as_array().expect("tools");
    let shown: Vec<&str> = shown
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    assert_eq!(shown, ["echo", &longest]);
    let absent = client.call("never", json!({})).await;
    for name in &wrong {
        let refused = client.call(name, json!({})).await;
        assert_eq!(refused.code(), absent.code(), "{name:?}");
        let scope = Scope::parse("tool", Some(&format!("up/{name}")));
        assert!(scope.is_err(), "{name:?}");
    }
    for name in ["echo", &longest] {
        let answer = client.call(name, json!({})).await;
        assert_eq!(answer.code(), None, "{answer:?}");
        let scope = Scope::parse("tool", Some(&format!("up/{name}")));
        assert!(scope.is_ok(), "{name}");
    }
    assert_eq!(server.heard_of("tools/call").len(), 2);
    let counted = gateway.gateway.shared().meters.text();
    let line = "keepgate_tools_nameless_total{keepgate_server_name=";
    assert!(counted.contains(line), "{counted}");
}

/// A reader that ignores case finds a question, content or a list where we find none.
#[tokio::test]
async fn answers_with_a_key_that_is_read_in_another_case_are_refused() {
    let asks = r#"{"a":{"method":"elicitation/create","params":{"mode":"url","url":"http://secret.example/","message":"x"}}}"#;
    for result in [
        format!(r#"{{"resultType":"complete","content":[],"InputRequests":{asks}}}"#),
        format!(r#"{{"ResultType":"input_required","inputrequests":{asks}}}"#),
        format!(r#"{{"resulttype":"input_required","content":[],"InputRequests":{asks}}}"#),
        r#"{"content":[],"StructuredContent":{"secret":1}}"#.to_owned(),
    ] {
        withheld(
            move |id| {
                let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
                Say::http("200 OK", "application/json", &body)
            },
            "upstream_invalid",
        )
        .await;
    }
    for error in [
        r#"{"code":-32042,"message":"m","data":{"Elicitations":[{"mode":"url","url":"http://secret.example/"}]}}"#,
        r#"{"code":-32042,"message":"m","Data":{"elicitations":[{"mode":"url","url":"http://secret.example/"}]}}"#,
    ] {
        withheld(
            move |id| {
                let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
                vec![
                    Say::sse(),
                    Say::text(&format!("data: {body}\n\n")),
                    Say::Close,
                ]
            },
            "upstream_invalid",
        )
        .await;
    }
}

#[tokio::test]
async fn an_item_with_its_name_in_another_case_is_not_listed() {
    let server = FakeServer::start(|heard| {
        if heard.json()["method"] != "tools/list" {
            return behave(heard).unwrap_or_default();
        }
        let id = &heard.json()["id"];
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{{"name":"echo","inputSchema":{{"type":"object"}}}},{{"name":"delete","Name":"hidden","inputSchema":{{"type":"object"}}}}]}}}}"#
        );
        Say::http("200 OK", "application/json", &body)
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let listed = client.ask("tools/list", json!({})).await;
    let text = String::from_utf8_lossy(&listed.body).into_owned();
    assert!(text.contains("echo") && !text.contains("hidden"), "{text}");
}

/// An answer without a fault in its body, but for `members`.
fn answer_with(id: &Value, members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},{members}"result":{{"content":[]}}}}"#)
}

/// One in a single chunk, behind these lines of its head.
fn chunked(id: &Value, lines: &str) -> Vec<Say> {
    let body = answer_with(id, "");
    let length = body.len();
    vec![
        head(&format!("content-type: application/json\r\n{lines}")),
        Say::text(&format!("{length:x}\r\n{body}\r\n0\r\n\r\n")),
        Say::Close,
    ]
}

/// The answer to a request with this id.
type Answering = fn(&Value) -> Vec<Say>;

/// Faults of answers: the words of the refusal, and the answer.
const FAULTS: [(&str, Answering); 7] = [
    ("duplicate key", |id| {
        let body = answer_with(id, &format!("\"id\":{id},"));
        Say::http("200 OK", "application/json", &body)
    }),
    ("another `Content-Type`", |_id| {
        Say::http("200 OK", "text/html", "<b>secret</b>")
    }),
    ("more than one `Content-Type`", |_id| {
        let types = "text/event-stream\r\ncontent-type: application/json";
        Say::http("200 OK", types, "{}")
    }),
    ("`charset`", |id| {
        let body = answer_with(id, "");
        Say::http("200 OK", "application/json; charset=utf-16", &body)
    }),
    ("`Content-Length` next to `Transfer-Encoding`", |id| {
        chunked(id, "content-length: 5\r\ntransfer-encoding: chunked")
    }),
    ("`Transfer-Encoding`", |id| {
        chunked(id, "transfer-encoding: gzip, chunked")
    }),
    ("broke off", |_id| {
        vec![
            head("content-type: application/json\r\ncontent-length: 99"),
            Say::text("{\"secret\""),
            Say::Close,
        ]
    }),
];

/// The refusal of an answer has its fault, in our words.
#[tokio::test]
async fn a_refused_answer_comes_with_what_is_wrong_with_it() {
    for (detail, says) in FAULTS {
        let (_server, _gateway, client) = hostile(move |heard| says(&heard.json()["id"])).await;
        let answer = client.call("echo", json!({})).await;
        let code = answer.code();
        assert_eq!(code.as_deref(), Some("upstream_invalid"), "{answer:?}");
        let text = text(&answer);
        assert!(
            text.contains(detail) && !text.contains("secret"),
            "{detail}: {text}"
        );
    }
}
