//! Pages in browsers: which may call and read answers.

use keepgate_tests::{Answer, Client, FakeServer, Say, TestGateway, upstream::said};
use serde_json::json;

const PAGE: &str = "https://app.example";

async fn gateway() -> (FakeServer, TestGateway) {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await;
    let gateway = TestGateway::http(&server.url())
        .keys()
        .with(|settings| settings.origins = vec![PAGE.to_owned()])
        .start()
        .await;
    (server, gateway)
}

async fn preflight(gateway: &TestGateway, origin: &str, names: &str) -> Answer {
    Client::new(gateway.addr)
        .without("authorization")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", names)
        .send("OPTIONS", "")
        .await
}

#[tokio::test]
async fn a_preflight_is_answered_before_anybody_is_identified() {
    let (server, gateway) = gateway().await;
    let asked = "Authorization, content-type, MCP-Protocol-Version, mcp-session-id, mcp-param-region, last-event-id, x-other, cookie, bad name";
    let taken = "authorization, content-type, mcp-protocol-version, mcp-session-id, mcp-param-region, last-event-id";
    for origin in [PAGE, "http://localhost:6274"] {
        let answer = preflight(&gateway, origin, asked).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert!(answer.body.is_empty());
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET, POST, DELETE"),
            ("access-control-allow-headers", taken),
            ("vary", "origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    for origin in [
        "https://evil.example",
        "https://app.example.evil.example",
        "null",
    ] {
        let answer = preflight(&gateway, origin, asked).await;
        assert_eq!(answer.code().as_deref(), Some("origin_refused"), "{origin}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
    }
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn a_page_reads_answers_and_refusals_if_its_origin_may_call() {
    let (_server, gateway) = gateway().await;
    let page = Client::new(gateway.addr).header("origin", PAGE);
    let refused = page.call_modern("echo", json!({})).await;
    assert_eq!(refused.code().as_deref(), Some("authn_missing"));
    assert_eq!(refused.header("access-control-allow-origin"), Some(PAGE));
    let exposed = refused
        .header("access-control-expose-headers")
        .unwrap_or_default();
    assert!(exposed.contains("www-authenticate") && exposed.contains("mcp-session-id"));
    // An answer to a request without an origin names none.
    let bare = Client::new(gateway.addr)
        .call_modern("echo", json!({}))
        .await;
    for name in [
        "access-control-allow-origin",
        "access-control-expose-headers",
        "vary",
    ] {
        assert_eq!(bare.header(name), None, "{name}");
    }
    // Two origins are none.
    let two = page
        .line("origin", "http://localhost:1")
        .call_modern("echo", json!({}))
        .await;
    assert_eq!(two.header("access-control-allow-origin"), None);
    assert_eq!(two.code().as_deref(), Some("origin_refused"));
}
