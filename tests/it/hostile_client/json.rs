//! Bodies two parsers could read in two ways.

use serde_json::json;

use super::{open_gate, refused, session, unheard};

/// Posts each body into a session and asserts that it is refused unread.
async fn refuses(bodies: &[&[u8]], code: &str) {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    for body in bodies {
        let answer = client.post(body.to_vec()).await;
        refused(&answer, 400, code);
    }
    unheard(&server);
    let refusals = gateway.refusals().await;
    assert_eq!(refusals, vec![code; bodies.len()]);
}

#[tokio::test]
async fn trap_01_duplicate_keys_reach_no_server() {
    let bodies: [&[u8]; 6] = [
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"echo"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","meth\u006fd":"tools/call","params":{"name":"echo"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","name":"delete"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","n\u0061me":"delete"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":[{"sql":"select","s\u0071l":"drop"}]}}}"#,
        br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"echo"}}"#,
    ];
    refuses(&bodies, "json_invalid").await;
}

#[tokio::test]
async fn trap_01_case_twins_of_keys_we_read_reach_no_server() {
    let bodies: [&[u8]; 4] = [
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"echo"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":{"name":"echo"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","Name":"delete"}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","ARGUMENTS":{}}}"#,
    ];
    refuses(&bodies, "json_invalid").await;
}

#[tokio::test]
async fn trap_05_bytes_that_are_no_strict_json_reach_no_server() {
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;
    let mark = [b"\xef\xbb\xbf", call.as_bytes()].concat();
    let trailing = format!("{call} {call}");
    let junk = format!("{call};");
    let nul = format!("{call}\0");
    let bodies: [&[u8]; 8] = [
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"ech\xff\"}}",
        // An overlong "/" is no UTF-8 either.
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools\xc0\xafcall\",\"params\":{\"name\":\"echo\"}}",
        &mark,
        trailing.as_bytes(),
        junk.as_bytes(),
        nul.as_bytes(),
        br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":"\ud800"}}}"#,
        b"",
    ];
    refuses(&bodies, "json_invalid").await;
}

#[tokio::test]
async fn trap_05_depth_bombs_reach_no_server() {
    let deep = |depth: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{{"a":{}{}}}}}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    refuses(
        &[deep(62).as_bytes(), deep(100_000).as_bytes()],
        "json_invalid",
    )
    .await;
    let (server, gateway) = open_gate().await;
    let just_right = session(&gateway).await.post(deep(61)).await;
    assert_eq!(just_right.status, 200);
    assert_eq!(server.heard_of("tools/call").len(), 1);
}

#[tokio::test]
async fn trap_05_what_goes_upstream_is_byte_for_byte_what_was_judged() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    let body = r#" { "id" : 9007199254740993, "jsonrpc":"2.0", "method":"tools/call",
        "params":{"name":"echo","arguments":{"big":9007199254740993,"one":1.0,"e":1E2,"text":"\u00e9\/","z":null,"a":[ ]}} } "#;
    let answer = client.post(body).await;
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8_lossy(&answer.body).contains("9007199254740993"));
    let heard = server.heard_of("tools/call");
    // But for the id, which is ours.
    assert_eq!(heard[0].under("9007199254740993").trim(), body.trim());
}

#[tokio::test]
async fn trap_05_ids_that_are_no_ids_reach_no_server() {
    let ids = ["1.0", "1e2", "null", "true", "[1]", r#"{"a":1}"#];
    let bodies: Vec<String> = ids
        .iter()
        .map(|id| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo"}}}}"#
            )
        })
        .collect();
    let bodies: Vec<&[u8]> = bodies.iter().map(|body| body.as_bytes()).collect();
    refuses(&bodies, "message_invalid").await;
}

#[tokio::test]
async fn trap_18_ids_come_back_as_they_were_written() {
    let (_server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    for id in [json!("1"), json!(1), json!(-5), json!("\u{e9} \"quoted\"")] {
        let body =
            json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "echo"}});
        assert_eq!(client.post(body.to_string()).await.json()["id"], id);
    }
}
