//! A client that lies, smuggles and guesses. What each trap is, and where it is caught, stands in `docs/threats.md`.

mod arguments;
mod batches;
mod callers;
mod coverage;
mod headers;
mod http;
mod json;
mod log;
mod side_doors;
mod validation;
mod versions;

use keepgate_tests::{Answer, Client, FakeServer, Say, TestGateway, upstream::said};
use serde_json::Value;

/// A server whose tools say "hello", behind a gateway that allows everything.
async fn open_gate() -> (FakeServer, TestGateway) {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    (server, gateway)
}

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await
}

/// The stateful session every hostile client begins with.
async fn session(gateway: &TestGateway) -> Client {
    Client::new(gateway.addr).initialize("2025-11-25").await
}

/// Asserts that a request was refused by HTTP status, with a JSON-RPC error that names nobody's request.
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (status, Some(code)),
        "{answer:?}"
    );
    let body = answer.json();
    assert_eq!(body["jsonrpc"], "2.0");
    assert!(body.get("id").is_none_or(Value::is_null), "{body}");
    assert!(body.get("result").is_none(), "{body}");
}

/// Asserts that nothing but the handshake reached the server.
fn unheard(server: &FakeServer) {
    let heard = server.heard();
    let beyond: Vec<_> = heard
        .iter()
        .filter(|heard| {
            !matches!(
                heard.method().as_str(),
                "initialize" | "notifications/initialized"
            )
        })
        .collect();
    assert!(beyond.is_empty(), "{beyond:#?}");
}
