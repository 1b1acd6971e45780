//! The gateway behind a proxy: under a path, which the proxy takes off or leaves, and asked by who balances load.

use keepgate_tests::{Answer, Client, FakeServer, Say, TestGateway, upstream::said};
use serde_json::json;

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await
}

async fn ask(gateway: &TestGateway, verb: &str, path: &str) -> Answer {
    Client::new(gateway.addr).path(path).send(verb, "").await
}

#[tokio::test]
async fn endpoints_are_found_with_and_without_the_path_of_the_public_url() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| settings.path = "/up/gate".to_owned())
        .start()
        .await;
    for (path, status) in [
        ("/up/mcp", 200),
        ("/up/gate/up/mcp", 200),
        ("/up/gate/other/mcp", 404),
        ("/up/gate/mcp", 404),
        ("/up/gate/up/gate/up/mcp", 404),
        ("/up/gateway/up/mcp", 404),
        ("/up/gate/up/mcp?a=b", 404),
    ] {
        let client = Client::new(gateway.addr).path(path);
        let answer = client.call_modern("echo", json!({})).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    // A session that was opened under one of them is the same under the other.
    let client = Client::new(gateway.addr).path("/up/gate/up/mcp");
    let opened = client.initialize("2025-11-25").await;
    let moved = opened.path("/up/mcp");
    assert_eq!(moved.call("echo", json!({})).await.status, 200);
}

#[tokio::test]
async fn paths_that_no_endpoint_has_are_not_found_whoever_asks() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    for path in [
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/up/mcp",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/register",
        "/authorize",
        "/token",
        "/",
        "/favicon.ico",
        "/up",
        "/up/mcp/",
        "/UP/mcp",
    ] {
        for verb in ["GET", "POST"] {
            let answer = ask(&gateway, verb, path).await;
            let found = (answer.status, answer.code());
            assert_eq!(
                found,
                (404, Some("path_unknown".to_owned())),
                "{verb} {path}"
            );
            assert_eq!(answer.header("www-authenticate"), None, "{verb} {path}");
        }
    }
    // Of those that an endpoint could have nobody learns which are there.
    for path in ["/up/mcp", "/absent/mcp"] {
        let answer = ask(&gateway, "POST", path).await;
        assert_eq!(answer.status, 401, "{path}: {answer:?}");
    }
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn who_balances_load_learns_whether_calls_are_accepted() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .keys()
        .with(|settings| settings.path = "/gate".to_owned())
        .start()
        .await;
    for path in ["/healthz", "/gate/healthz"] {
        // Such a client calls an address and shows no key.
        let client = Client::new(gateway.addr).path(path);
        let answer = client.header("host", "10.1.2.3:8080").send("GET", "").await;
        assert_eq!(
            (answer.status, &answer.body[..]),
            (200, &b"ok\n"[..]),
            "{path}"
        );
        assert_eq!(ask(&gateway, "POST", path).await.status, 405, "{path}");
    }
    assert_eq!(ask(&gateway, "GET", "/healthz/up").await.status, 404);
    gateway.gateway.drain();
    let answer = ask(&gateway, "GET", "/healthz").await;
    assert_eq!(answer.status, 503, "{answer:?}");
}
