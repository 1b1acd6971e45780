//! The bytes the driver sends, made once and patched with a fresh id for every call.

use std::fmt::Write as _;
use std::net::SocketAddr;

use memchr::memmem;

use crate::workload::Workload;

/// The first id of a run. Ids keep its ten digits, so that a request's length never changes.
pub(crate) const FIRST_ID: u64 = 1_000_000_000;

/// How many ids each connection may use before it would meet its neighbour's.
pub(crate) const IDS_PER_CONNECTION: u64 = 10_000_000;

/// What every good result of the bench upstream contains. A refusal worded as a result has it not.
pub(crate) const MARKER: &[u8] = b"keepgate-bench-result";

/// Where requests go and what they carry besides the call.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// The address to connect to; also the `Host` header.
    pub(crate) address: SocketAddr,
    /// The endpoint's path.
    pub(crate) path: String,
    /// The API key to send as a bearer token, if the proxy asks for one.
    pub(crate) key: Option<String>,
}

/// A request that is sent many times, each time with another JSON-RPC id.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    id_at: usize,
}

impl Template {
    /// Writes `id` (ten digits) into the request and gives the bytes to send.
    pub(crate) fn with_id(&mut self, id: u64) -> &[u8] {
        let mut rest = id;
        if let Some(digits) = self.bytes.get_mut(self.id_at..self.id_at + 10) {
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                rest /= 10;
            }
        }
        &self.bytes
    }
}

/// `initialize` of a stateful client.
pub(crate) fn initialize(to: &Destination) -> Template {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{FIRST_ID},"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"keepgate-bench","version":"1.0.0"}}}}}}"#
    );
    template(to, "", &body)
}

/// `notifications/initialized`, which ends the handshake of a stateful client.
pub(crate) fn initialized(to: &Destination, session: Option<&str>) -> Template {
    let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    template(to, &session_headers(session), body)
}

/// The workload's `tools/call`.
pub(crate) fn call(to: &Destination, workload: Workload, session: Option<&str>) -> Template {
    let body = call_body(workload);
    if workload.stateless() {
        let name = workload.tool().name();
        let headers = format!(
            "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {name}\r\n"
        );
        template(to, &headers, &body)
    } else {
        template(to, &session_headers(session), &body)
    }
}

/// The body of the workload's `tools/call`, under the first id.
pub(crate) fn call_body(workload: Workload) -> String {
    let tool = workload.tool();
    let (name, arguments) = (tool.name(), tool.arguments());
    let meta = if workload.stateless() {
        r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"keepgate-bench","version":"1.0.0"}}"#
    } else {
        ""
    };
    format!(
        r#"{{"jsonrpc":"2.0","id":{FIRST_ID},"method":"tools/call","params":{{"name":"{name}","arguments":{arguments}{meta}}}}}"#
    )
}

/// The end of a session.
pub(crate) fn end(to: &Destination, session: &str) -> Template {
    let headers = session_headers(Some(session));
    request("DELETE", to, &headers, "")
}

fn session_headers(session: Option<&str>) -> String {
    let mut headers = String::from("mcp-protocol-version: 2025-11-25\r\n");
    if let Some(session) = session {
        headers.push_str("mcp-session-id: ");
        headers.push_str(session);
        headers.push_str("\r\n");
    }
    headers
}

fn template(to: &Destination, headers: &str, body: &str) -> Template {
    request("POST", to, headers, body)
}

fn request(method: &str, to: &Destination, headers: &str, body: &str) -> Template {
    let Destination { address, path, key } = to;
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: keepgate-bench/1.0\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\n{headers}"
    );
    if let Some(key) = key {
        text.push_str("authorization: Bearer ");
        text.push_str(key);
        text.push_str("\r\n");
    }
    // Writing to a String cannot fail.
    let written = write!(text, "content-length: {}\r\n\r\n{body}", body.len());
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
    let bytes = text.into_bytes();
    let id = format!("\"id\":{FIRST_ID}");
    // A notification has no id: the patch then falls outside the bytes and does nothing.
    let id_at = memmem::find(&bytes, id.as_bytes()).map_or(bytes.len(), |at| at + 5);
    Template { bytes, id_at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination() -> Destination {
        Destination {
            address: SocketAddr::from(([127, 0, 0, 1], 80)),
            path: "/bench/mcp".into(),
            key: Some("kg_secret".into()),
        }
    }

    #[test]
    fn a_call_is_valid_json_of_the_announced_length_with_the_id_it_was_given() {
        for workload in Workload::ALL {
            let mut template = call(&destination(), workload, Some("session"));
            let text = String::from_utf8(template.with_id(1_234_567_890).to_vec()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())));
            assert!(head.contains("authorization: Bearer kg_secret"));
            assert_eq!(head.contains("mcp-session-id"), !workload.stateless());
            let message: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(message["id"], 1_234_567_890_u64);
            assert_eq!(message["params"]["name"], workload.tool().name());
            let size = message["params"]["arguments"].to_string().len();
            assert!((150..=250).contains(&size), "{size} bytes of arguments");
        }
    }

    #[test]
    fn a_notification_stays_as_it_is() {
        let mut template = initialized(&destination(), None);
        let before = template.clone();
        assert_eq!(template.with_id(7), before.bytes);
    }
}
