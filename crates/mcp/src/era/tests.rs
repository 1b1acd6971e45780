//! Tests of eras.
//!
//! A case is a line: headers before the bar (`v`ersion, `m`ethod, `n`ame, `s`ession), body behind it. A body is a method and
//! the inside of its `params`, where `META` stands for what a modern request must carry; or it is raw JSON.

use bytes::Bytes;
use expect_test::{Expect, expect};

use super::classify;
use crate::header::Mirrored;
use crate::json::Limits;
use crate::message::decode;
use crate::revision::Revision;

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A reference to a header and what the case calls it.
const HEADERS: [(&str, &str); 4] = [
    ("v=", "mcp-protocol-version"),
    ("m=", "mcp-method"),
    ("n=", "mcp-name"),
    ("s=", "mcp-session-id"),
];

fn check(session: Option<Revision>, cases: &str, expected: &Expect) {
    let cases = cases.lines().map(str::trim).filter(|case| !case.is_empty());
    let lines: Vec<String> = cases
        .map(|case| format!("{case}\n    {}", outcome(session, case)))
        .collect();
    expected.assert_eq(&lines.join("\n"));
}

fn outcome(session: Option<Revision>, case: &str) -> String {
    let (headers, body) = case.split_once('|').expect("a bar");
    let pairs = headers.split_whitespace().map(|header| {
        let (short, name) = HEADERS
            .iter()
            .find(|(short, _)| header.starts_with(short))
            .expect("a known header");
        (*name, &header.as_bytes()[short.len()..])
    });
    let mirrored = Mirrored::read(pairs).expect("legal headers");
    let body = body.trim();
    let text = if body.starts_with(['{', '[']) {
        body.to_owned()
    } else {
        let (method, params) = body.split_once(' ').unwrap_or((body, ""));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#)
    };
    let decoded =
        decode(Bytes::from(text.replace("META", META)), &Limits::request()).expect("a legal body");
    match classify(&mirrored, &decoded, session) {
        Ok(framing) => format!("{} {:?}", framing.revision, framing.era),
        Err(error) => {
            let data = error.data.as_deref().unwrap_or_default();
            let shown = format!(
                "{} {} {}: {error} {data}",
                error.status,
                error.code,
                error.fault.as_str()
            );
            shown.trim_end().to_owned()
        }
    }
}

#[test]
fn modern_requests() {
    check(
        None,
        r#"
        v=2026-07-28 m=tools/list | tools/list META
        v=2026-07-28 m=tools/call n=x | tools/call "name":"x",META
        v=2026-07-28 m=tools/call n==?base64?w6k=?= | tools/call "name":"\u00e9",META
        v=2026-07-28 m=resources/read n=file:///x | resources/read "uri":"file:///x",META
        v=2026-07-28 m=tasks/get n=t | tasks/get "taskId":"t",META
        v=2026-07-28 m=completion/complete | completion/complete META
        v=2026-07-28 m=initialize | initialize META
        v=2026-07-28 | {"jsonrpc":"2.0","method":"notifications/cancelled"}
        v=2026-07-28 m=tools/list s=abc | tools/list META
        "#,
        &expect![[r#"
            v=2026-07-28 m=tools/list | tools/list META
                2026-07-28 Stateless
            v=2026-07-28 m=tools/call n=x | tools/call "name":"x",META
                2026-07-28 Stateless
            v=2026-07-28 m=tools/call n==?base64?w6k=?= | tools/call "name":"\u00e9",META
                2026-07-28 Stateless
            v=2026-07-28 m=resources/read n=file:///x | resources/read "uri":"file:///x",META
                2026-07-28 Stateless
            v=2026-07-28 m=tasks/get n=t | tasks/get "taskId":"t",META
                2026-07-28 Stateless
            v=2026-07-28 m=completion/complete | completion/complete META
                2026-07-28 Stateless
            v=2026-07-28 m=initialize | initialize META
                2026-07-28 Stateless
            v=2026-07-28 | {"jsonrpc":"2.0","method":"notifications/cancelled"}
                2026-07-28 Stateless
            v=2026-07-28 m=tools/list s=abc | tools/list META
                2026-07-28 Stateless"#]],
    );
}

#[test]
fn trap_02_headers_that_differ_from_the_body_are_refused() {
    check(
        None,
        r#"
        v=2026-07-28 | tools/list META
        v=2026-07-28 m=prompts/list | tools/list META
        v=2026-07-28 m=TOOLS/LIST | tools/list META
        v=2026-07-28 m==?base64?dG9vbHMvbGlzdA==?= | tools/list META
        v=2026-07-28 m=tools/call | tools/call "name":"x",META
        v=2026-07-28 m=tools/call n=y | tools/call "name":"x",META
        v=2026-07-28 m=tools/call n=X | tools/call "name":"x",META
        v=2026-07-28 m=tools/call n=x | tools/call META
        v=2026-07-28 m=tools/call n=7 | tools/call "name":7,META
        v=2026-07-28 m=prompts/get n=y | prompts/get "name":"x",META
        v=2026-07-28 m=resources/read n=f:b | resources/read "uri":"f:a",META
        v=2026-07-28 m=tasks/cancel n=u | tasks/cancel "taskId":"t",META
        v=2026-07-28 m=ping | {"jsonrpc":"2.0","method":"notifications/cancelled"}
        "#,
        &expect![[r#"
            v=2026-07-28 | tools/list META
                400 -32020 missing_header: Header mismatch: Mcp-Method is missing
            v=2026-07-28 m=prompts/list | tools/list META
                400 -32020 header_mismatch: Header mismatch: Mcp-Method does not match the body
            v=2026-07-28 m=TOOLS/LIST | tools/list META
                400 -32020 header_mismatch: Header mismatch: Mcp-Method does not match the body
            v=2026-07-28 m==?base64?dG9vbHMvbGlzdA==?= | tools/list META
                400 -32020 header_mismatch: Header mismatch: Mcp-Method does not match the body
            v=2026-07-28 m=tools/call | tools/call "name":"x",META
                400 -32020 missing_header: Header mismatch: Mcp-Name is missing
            v=2026-07-28 m=tools/call n=y | tools/call "name":"x",META
                400 -32020 header_mismatch: Header mismatch: Mcp-Name does not match the body
            v=2026-07-28 m=tools/call n=X | tools/call "name":"x",META
                400 -32020 header_mismatch: Header mismatch: Mcp-Name does not match the body
            v=2026-07-28 m=tools/call n=x | tools/call META
                400 -32020 header_mismatch: Header mismatch: Mcp-Name does not match the body
            v=2026-07-28 m=tools/call n=7 | tools/call "name":7,META
                400 -32020 header_mismatch: Header mismatch: Mcp-Name does not match the body
            v=2026-07-28 m=prompts/get n=y | prompts/get "name":"x",META
                400 -32020 header_mismatch: Header mismatch: Mcp-Name does not match the body
            v=2026-07-28 m=resources/read n=f:b | resources/read "uri":"f:a",META
                400 -32020 header_mismatch: Header mismatch: Mcp-Name does not match the body
            v=2026-07-28 m=tasks/cancel n=u | tasks/cancel "taskId":"t",META
                400 -32020 header_mismatch: Header mismatch: Mcp-Name does not match the body
            v=2026-07-28 m=ping | {"jsonrpc":"2.0","method":"notifications/cancelled"}
                400 -32020 header_mismatch: Header mismatch: Mcp-Method does not match the body"#]],
    );
}

#[test]
fn trap_03_versions_that_disagree_are_refused() {
    check(
        Some(Revision::V2025_06_18),
        r#"
        m=tools/list | tools/list META
        s=abc m=tools/list | tools/list META
        v=2025-11-25 m=tools/list | tools/list META
        v=2025-06-18 s=abc m=tools/list | tools/list META
        v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}}
        v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"2027-01-01","io.modelcontextprotocol/clientCapabilities":{}}
        v=2025-11-25 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}}
        v=v9" m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"v9\"","io.modelcontextprotocol/clientCapabilities":{}}
        v=2026-07-28 m=tools/list | tools/list
        v=2026-07-28 m=initialize | initialize "protocolVersion":"2025-11-25"
        v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}
        v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/clientCapabilities":{}}
        v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}
        v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":20260728,"io.modelcontextprotocol/clientCapabilities":{}}
        m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/clientCapabilities":{}}
        v=2099-01-01 | tools/list
        "#,
        &expect![[r#"
            m=tools/list | tools/list META
                400 -32020 missing_header: Header mismatch: MCP-Protocol-Version is missing
            s=abc m=tools/list | tools/list META
                400 -32020 missing_header: Header mismatch: MCP-Protocol-Version is missing
            v=2025-11-25 m=tools/list | tools/list META
                400 -32020 header_mismatch: Header mismatch: MCP-Protocol-Version does not match the body
            v=2025-06-18 s=abc m=tools/list | tools/list META
                400 -32020 header_mismatch: Header mismatch: MCP-Protocol-Version does not match the body
            v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}}
                400 -32020 header_mismatch: Header mismatch: MCP-Protocol-Version does not match the body
            v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"2027-01-01","io.modelcontextprotocol/clientCapabilities":{}}
                400 -32020 header_mismatch: Header mismatch: MCP-Protocol-Version does not match the body
            v=2025-11-25 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}}
                400 -32022 unsupported_version: Unsupported protocol version {"supported":["2026-07-28"],"requested":"2025-11-25"}
            v=v9" m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"v9\"","io.modelcontextprotocol/clientCapabilities":{}}
                400 -32022 unsupported_version: Unsupported protocol version {"supported":["2026-07-28"],"requested":"v9\""}
            v=2026-07-28 m=tools/list | tools/list
                400 -32602 missing_metadata: Invalid params: required protocol metadata is missing or malformed
            v=2026-07-28 m=initialize | initialize "protocolVersion":"2025-11-25"
                400 -32602 missing_metadata: Invalid params: required protocol metadata is missing or malformed
            v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}
                400 -32602 missing_metadata: Invalid params: required protocol metadata is missing or malformed
            v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/clientCapabilities":{}}
                400 -32602 missing_metadata: Invalid params: required protocol metadata is missing or malformed
            v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}
                400 -32602 missing_metadata: Invalid params: required protocol metadata is missing or malformed
            v=2026-07-28 m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/protocolVersion":20260728,"io.modelcontextprotocol/clientCapabilities":{}}
                400 -32602 missing_metadata: Invalid params: required protocol metadata is missing or malformed
            m=tools/list | tools/list "_meta":{"io.modelcontextprotocol/clientCapabilities":{}}
                400 -32020 missing_header: Header mismatch: MCP-Protocol-Version is missing
            v=2099-01-01 | tools/list
                400 -32600 unknown_version: Bad Request: unsupported MCP-Protocol-Version"#]],
    );
}

#[test]
fn stateful_messages() {
    check(
        None,
        r#"
        | initialize "protocolVersion":"2025-06-18"
        v=2025-11-25 | initialize "protocolVersion":"2025-06-18"
        | initialize "protocolVersion":"2024-11-05"
        | initialize "protocolVersion":"2026-07-28"
        v=2000-01-01 | initialize "protocolVersion":"2025-06-18"
        | initialize
        | tools/list
        v=2025-11-25 | tools/list
        v=2025-11-25 m=other n=other | tools/call "name":"x"
        | {"jsonrpc":"2.0","id":1,"result":{}}
        v=2026-07-28 | {"jsonrpc":"2.0","id":1,"result":{}}
        "#,
        &expect![[r#"
            | initialize "protocolVersion":"2025-06-18"
                2025-06-18 Stateful
            v=2025-11-25 | initialize "protocolVersion":"2025-06-18"
                2025-06-18 Stateful
            | initialize "protocolVersion":"2024-11-05"
                2024-11-05 Stateful
            | initialize "protocolVersion":"2026-07-28"
                2025-11-25 Stateful
            v=2000-01-01 | initialize "protocolVersion":"2025-06-18"
                400 -32600 unknown_version: Bad Request: unsupported MCP-Protocol-Version
            | initialize
                400 -32602 missing_metadata: Invalid params: required protocol metadata is missing or malformed
            | tools/list
                2025-03-26 Stateful
            v=2025-11-25 | tools/list
                2025-11-25 Stateful
            v=2025-11-25 m=other n=other | tools/call "name":"x"
                2025-11-25 Stateful
            | {"jsonrpc":"2.0","id":1,"result":{}}
                2025-03-26 Stateful
            v=2026-07-28 | {"jsonrpc":"2.0","id":1,"result":{}}
                400 -32600 client_response: Bad Request: clients send no responses in this protocol version"#]],
    );
    check(
        Some(Revision::V2025_11_25),
        r#"
        s=abc | tools/list
        s=abc v=2025-11-25 | tools/list
        s=abc v=2025-03-26 | tools/list
        s=abc v=2025-03-26 | [{"jsonrpc":"2.0","id":1,"method":"ping"}]
        "#,
        &expect![[r#"
            s=abc | tools/list
                2025-11-25 Stateful
            s=abc v=2025-11-25 | tools/list
                2025-11-25 Stateful
            s=abc v=2025-03-26 | tools/list
                2025-11-25 Stateful
            s=abc v=2025-03-26 | [{"jsonrpc":"2.0","id":1,"method":"ping"}]
                400 -32600 batch: Bad Request: batches are not part of this protocol version"#]],
    );
}

#[test]
fn trap_04_batches_exist_in_one_revision_only() {
    check(
        None,
        r#"
        | [{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/cancelled"}]
        v=2025-03-26 | [{"jsonrpc":"2.0","id":9,"result":{}}]
        v=2025-06-18 | [{"jsonrpc":"2.0","id":1,"method":"ping"}]
        v=2025-11-25 | [{"jsonrpc":"2.0","id":1,"method":"ping"}]
        v=2026-07-28 | [{"jsonrpc":"2.0","id":1,"method":"ping"}]
        v=2025-03-26 | [{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{META}}]
        "#,
        &expect![[r#"
            | [{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/cancelled"}]
                2025-03-26 Stateful
            v=2025-03-26 | [{"jsonrpc":"2.0","id":9,"result":{}}]
                2025-03-26 Stateful
            v=2025-06-18 | [{"jsonrpc":"2.0","id":1,"method":"ping"}]
                400 -32600 batch: Bad Request: batches are not part of this protocol version
            v=2025-11-25 | [{"jsonrpc":"2.0","id":1,"method":"ping"}]
                400 -32600 batch: Bad Request: batches are not part of this protocol version
            v=2026-07-28 | [{"jsonrpc":"2.0","id":1,"method":"ping"}]
                400 -32600 batch: Bad Request: batches are not part of this protocol version
            v=2025-03-26 | [{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{META}}]
                400 -32600 batch: Bad Request: batches are not part of this protocol version"#]],
    );
    check(
        Some(Revision::V2025_06_18),
        r#"| [{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        &expect![[r#"
            | [{"jsonrpc":"2.0","id":1,"method":"ping"}]
                400 -32600 batch: Bad Request: batches are not part of this protocol version"#]],
    );
}

#[test]
fn trap_04_batches_smuggle_nothing() {
    check(
        None,
        r#"
        | [{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}]
        | [{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":9,"result":{}}]
        | [{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":"\u0061","method":"ping"}]
        "#,
        &expect![[r#"
            | [{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}]
                400 -32600 batched_initialize: Bad Request: initialize must not be part of a batch
            | [{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":9,"result":{}}]
                400 -32600 mixed_batch: Bad Request: a batch holds responses or other messages, not both
            | [{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","method":"x"},{"jsonrpc":"2.0","id":"\u0061","method":"ping"}]
                400 -32600 batched_twice: Bad Request: an id occurs twice in a batch"#]],
    );
}
