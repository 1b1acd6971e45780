//! The upstream's answers are valid and echo the id as it was spelled.

use serde_json::Value;

use super::*;

fn envelope(text: &str) -> Envelope<'_> {
    serde_json::from_str(text).unwrap()
}

async fn reply_to(text: &str) -> (StatusCode, http::HeaderMap, Bytes) {
    let (parts, reply) = dispatch(&envelope(text)).into_parts();
    let bytes = body::read(reply, 1 << 20).await.unwrap();
    (parts.status, parts.headers, bytes)
}

#[tokio::test]
async fn each_tool_answers_its_kind_of_result() {
    for (tool, least, most) in [
        ("query_database", 230, 300),
        ("export_report", 64 * 1024, 66 * 1024),
    ] {
        let request = format!(
            r#"{{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{{"name":"{tool}"}}}}"#
        );
        let (status, _, bytes) = reply_to(&request).await;
        assert_eq!(status, StatusCode::OK);
        assert!((least..=most).contains(&bytes.len()), "{}", bytes.len());
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(message["id"], "ab");
        let text = message["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.as_bytes().starts_with(crate::traffic::MARKER));
    }
}

#[tokio::test]
async fn a_stream_holds_the_result_as_its_only_event() {
    let request =
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"follow_case"}}"#;
    let (_, headers, bytes) = reply_to(request).await;
    assert_eq!(headers[CONTENT_TYPE], "text/event-stream");
    let text = std::str::from_utf8(&bytes).unwrap();
    let data = text
        .strip_prefix("event: message\ndata: ")
        .and_then(|rest| rest.strip_suffix("\n\n"))
        .unwrap();
    let message: Value = serde_json::from_str(data).unwrap();
    assert_eq!(message["id"], 7);
}

#[tokio::test]
async fn only_the_stateless_revision_is_told_the_type_of_result() {
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    for method in ["tools/call", "tools/list", "server/discover", "ping"] {
        let request = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{{"name":"query_database",{meta}}}}}"#
        );
        let (_, headers, bytes) = reply_to(&request).await;
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(message["result"]["resultType"], "complete", "{method}");
        assert!(!headers.contains_key(SESSION));
    }
    let request = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
    let (_, _, bytes) = reply_to(request).await;
    let message: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(message["result"]["resultType"], Value::Null);
}

#[tokio::test]
async fn a_handshake_gets_a_session_and_a_notification_no_body() {
    let request = r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#;
    let (_, headers, bytes) = reply_to(request).await;
    assert!(headers.contains_key(SESSION));
    let message: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(message["result"]["protocolVersion"], "2025-06-18");

    let (status, _, bytes) =
        reply_to(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(bytes.is_empty());
}
