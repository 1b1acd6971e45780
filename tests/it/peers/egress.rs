//! The way out through a forward proxy, a real one (`tests/peers/egress_proxy.py`), which alone finds names below `.test`.

use std::os::unix::fs::PermissionsExt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use keepgate_tests::{Answer, FakeServer, Say, free_port, upstream::said};
use serde_json::{Value, json};

use super::gate::{Gate, Home};
use super::process::{Running, serve, until};

/// The password of the proxy, which must be seen nowhere.
const PASSWORD: &str = "open-sesame-4711";

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await
}

/// A proxy that lets in who has the password, and one that lets in everybody.
async fn proxy(login: Option<&str>) -> (Running, String) {
    let login: Vec<_> = login.iter().map(|login| ("LOGIN", *login)).collect();
    serve("egress-proxy", &login).await
}

/// Whether the proxy was asked for a tunnel to `host`.
fn carried(proxy: &Running, host: &str) -> bool {
    proxy.stdout().contains(&format!("connect {host}:"))
}

/// The home with a file that holds the proxy's password.
fn with_password(home: Home, proxy: &str, password: &str) -> Home {
    let path = home.path("proxy-password");
    std::fs::write(&path, password).expect("a file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("closed");
    home.with(|it| {
        let reference = format!("file:{}", path.display());
        it["egress"] =
            json!({"proxy": proxy, "credential": {"ref": reference, "user": "keepgate"}});
    })
}

async fn call(gate: &Gate, server: &str) -> Answer {
    gate.client(server).call_modern("echo", json!({})).await
}

/// The log and the records hold no password.
async fn is_silent(gate: Gate) {
    let log = gate.process.stderr() + &gate.process.stdout();
    let records = gate.end().await;
    let written = format!("{log}{}", Value::from(records));
    assert!(!written.contains(PASSWORD), "{written}");
    // As it is sent.
    assert!(!written.contains("b3Blbi1zZXNhbWUtNDcxMQ"), "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_through_the_proxy_with_its_credential() {
    let server = server().await;
    let (process, proxy) = proxy(Some(&format!("keepgate:{PASSWORD}"))).await;
    let port = server.addr.port();
    let home = with_password(Home::new(), &proxy, PASSWORD).with(|it| {
        it["servers"] = json!({
            "up": {"url": format!("http://up.test:{port}/mcp")},
            // Loopback is never the proxy's.
            "here": {"url": format!("http://127.0.0.1:{port}/mcp")},
            // Without the proxy nobody knows the name.
            "own": {"url": format!("http://own.test:{port}/mcp"), "egress": {"proxy": "none"}},
            "listed": {"url": format!("http://listed.example.test:{port}/mcp")},
        });
        it["egress"]["no_proxy"] = json!([".example.test"]);
    });
    let mut gate = home.serve().await;
    for (server, host, works, through) in [
        ("up", "up.test", true, true),
        ("here", "127.0.0.1", true, false),
        ("own", "own.test", false, false),
        ("listed", "listed.example.test", false, false),
    ] {
        let answer = call(&gate, server).await;
        match works {
            true => assert_eq!(answer.status, 200, "{server}: {answer:?}"),
            false => assert_eq!(
                answer.code().as_deref(),
                Some("upstream_unreachable"),
                "{answer:?}"
            ),
        }
        assert_eq!(carried(&process, host), through, "{}", process.stdout());
    }
    // Nothing of the proxy's login reaches the server.
    for heard in server.heard() {
        assert_eq!(heard.header("proxy-authorization"), None, "{}", heard.head);
    }
    // The file is read for each connection; a wrong password is refused in words.
    std::fs::write(gate.home.path("proxy-password"), "wrong-password").expect("a file");
    gate.home = gate
        .home
        .with(|it| it["servers"]["up"]["owner"] = json!("new pools"));
    gate.says("configuration reloaded", 1).await;
    let answer = call(&gate, "up").await;
    assert_eq!(
        answer.code().as_deref(),
        Some("upstream_unreachable"),
        "{answer:?}"
    );
    let log = gate.process.stderr();
    assert!(
        log.contains("status `407`") && log.contains("egress.credential"),
        "{log}"
    );
    is_silent(gate).await;
}

/// An address that is this machine's, though no address of its loopback: without a proxy it is reached.
const REACHED: &str = "0.0.0.0";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_around_a_proxy_that_is_dead() {
    let server = server().await;
    let url = format!("http://{REACHED}:{}/mcp", server.addr.port());
    let proxy = format!("http://127.0.0.1:{}", free_port());
    let home = Home::new().with(|it| {
        it["egress"] = json!({"proxy": proxy});
        it["servers"] = json!({
            "up": {"url": url},
            "direct": {"url": url, "egress": {"proxy": "none"}},
        });
    });
    let gate = home.serve().await;
    let answer = call(&gate, "up").await;
    assert_eq!(
        answer.code().as_deref(),
        Some("upstream_unreachable"),
        "{answer:?}"
    );
    assert!(server.heard().is_empty(), "a call went around the proxy");
    let log = gate.process.stderr();
    assert!(log.contains("the egress proxy cannot be reached"), "{log}");
    assert_eq!(call(&gate, "direct").await.status, 200);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_name_a_proxy_for_https_alone() {
    let (process, proxy) = proxy(Some(&format!("keepgate:{PASSWORD}"))).await;
    let server = server().await;
    let url = format!("http://{REACHED}:{}/mcp", server.addr.port());
    let with_login = proxy.replace("http://", &format!("http://keepgate:{PASSWORD}@"));
    let home = Home::new()
        .env("HTTPS_PROXY", &with_login)
        .env("no_proxy", "listed.test,odd entry")
        .with(|it| {
            it["egress"] = json!({"proxy": "env"});
            it["servers"] = json!({
                "plain": {"url": url},
                "secure": {"url": "https://secure.test:9/mcp"},
                "listed": {"url": "https://listed.test:9/mcp"},
            });
        });
    let gate = home.serve().await;
    assert_eq!(call(&gate, "plain").await.status, 200);
    for (server, host, through) in [
        ("secure", "secure.test", true),
        ("listed", "listed.test", false),
    ] {
        let answer = call(&gate, server).await;
        assert_eq!(
            answer.code().as_deref(),
            Some("upstream_unreachable"),
            "{answer:?}"
        );
        assert_eq!(carried(&process, host), through, "{}", process.stdout());
    }
    assert!(!carried(&process, REACHED), "{}", process.stdout());
    is_silent(gate).await;
}

/// A token that an issuer might have made: enough for its keys to be fetched.
fn token(issuer: &str, resource: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"alg": "RS256", "typ": "at+jwt", "kid": "a"}));
    let claims = part(json!({
        "iss": issuer, "sub": "a", "aud": resource, "exp": 4_000_000_000_u64, "iat": 1, "jti": "a", "client_id": "a",
    }));
    format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 256]))
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_bundles_vault_receivers_and_collectors_are_reached_through_the_proxy() {
    let (process, proxy) = proxy(None).await;
    let listen = format!("127.0.0.1:{}", free_port());
    let home = Home::new().with(|it| {
        it["egress"] = json!({"proxy": proxy});
        it["listen"] = json!(listen);
        it["auth"] = json!({"mode": "oauth", "issuers": [{"issuer": "https://issuer.test:9"}]});
        it["telemetry"] = json!({"otlp": {"endpoint": "https://collector.test:9"}, "metrics": {"interval": "1s"}});
        it["status"] = json!({"url": "https://receiver.test:9"});
        it["servers"] = json!({"up": {"url": "https://up.test:9/mcp"}});
    });
    let gate = home.serve().await;
    let url = gate.url("up");
    let shown = format!("Bearer {}", token("https://issuer.test:9", &url));
    let client = gate.client("up").header("authorization", &shown);
    assert_ne!(client.call_modern("echo", json!({})).await.status, 200);
    for host in ["issuer.test", "collector.test", "receiver.test"] {
        until(host, async || carried(&process, host)).await;
    }
    gate.kill().await;
    let home = Home::new();
    let secret = home.path("vault-token");
    std::fs::write(&secret, "a-token-of-a-vault").expect("a file");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("closed");
    let home = home.with(|it| {
        it["egress"] = json!({"proxy": proxy});
        it["credentials"] = json!({"providers": {"vault": {
            "address": "https://vault.test:9",
            "auth": {"token": format!("file:{}", secret.display())},
            "mounts": {"secret": "kv2"},
        }}});
        it["servers"] = json!({"up": {
            "url": "https://up.test:9/mcp",
            "credential": {"ref": "vault:secret/up#token", "as": "bearer"},
        }});
    });
    let gate = home.serve().await;
    assert!(call(&gate, "up").await.code().is_some());
    until("vault.test", async || carried(&process, "vault.test")).await;
    gate.kill().await;
    // A start waits for its bundle, and fails without.
    let home = Home::new().with(|it| {
        it["egress"] = json!({"proxy": proxy});
        it["policies"] = json!([{"bundle": "https://bundles.test:9/policy.tar.gz"}]);
        it["servers"] = json!({"up": {"url": "http://127.0.0.1:9/mcp"}});
    });
    let _starting = home.start(&[]);
    until("bundles.test", async || carried(&process, "bundles.test")).await;
}
