//! The program, configured to fetch from OpenBao what its server needs.

use serde_json::{Value, json};

use super::super::gate::{Gate, Home, of_kind};
use super::super::process::{Running, serve, until};
use super::super::tokens::machine_token;
use super::postgres::Postgres;
use super::{OpenBao, text};

/// A server over a database: it answers with the account it is let in as, or that it is not.
const WAREHOUSE: &str = r#"
import json, os, subprocess, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    if message["method"] == "tools/list":
        result = {"tools": [{"name": "whoami", "inputSchema": {"type": "object"}}], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    else:
        ran = subprocess.run([sys.argv[1], "-XAtwc", "SELECT current_user", "-h", "127.0.0.1", "-p", sys.argv[2], "-d", "postgres"], capture_output=True, text=True)
        result = {"content": [{"type": "text", "text": ran.stdout.strip() or "not let in"}], "resultType": "complete"}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n"); sys.stdout.flush()
"#;

async fn whoami(gate: &Gate) -> Value {
    let answer = gate
        .client("warehouse")
        .call_modern("whoami", json!({}))
        .await;
    match answer.code() {
        Some(code) => json!(code),
        None => answer.messages().pop().expect("a result")["result"]["content"][0]["text"].clone(),
    }
}

/// A gateway that logs in with a JWT and gives its server an account of the database.
async fn start(vault: &OpenBao, postgres: &Postgres) -> (Running, Gate) {
    const AUDIENCE: &str = "https://vault.example";
    let (provider_of_tokens, issuer) = serve("oidc", &[]).await;
    let ask = async |path: &str, body: Value| vault.ask("POST", path, body).await;
    ask("sys/auth/jwt", json!({"type": "jwt"})).await;
    ask("auth/jwt/config", json!({"oidc_discovery_url": issuer})).await;
    ask("auth/jwt/role/keepgate", json!({"role_type": "jwt", "bound_audiences": [AUDIENCE], "user_claim": "client_id", "token_policies": "keepgate"})).await;
    let token = machine_token(&issuer, AUDIENCE, "tools:read").await;
    let token = vault.file("jwt", &token).to_string();
    let psql = keepgate_tests::installed("psql").expect("postgres has started");
    let provider = json!({
        "address": format!("http://127.0.0.1:{}", vault.port), "max_age": "1s",
        "auth": {"jwt": {"role": "keepgate", "token": token}}, "mounts": {"database": "leased"},
    });
    let credential = json!({"ref": "vault:database/creds/crm#password", "as": "environment",
        "name": "PGPASSWORD", "user_name": "PGUSER", "user_field": "username"});
    let command = json!(["python3", "-c", WAREHOUSE, psql, postgres.port.to_string()]);
    let gate = Home::new()
        .with(|it| {
            it["credentials"] = json!({"providers": {"vault": provider}});
            it["servers"]["warehouse"] = json!({"command": command, "credential": credential});
        })
        .serve()
        .await;
    (provider_of_tokens, gate)
}

/// Sets a kill, or clears it, as an operator does.
async fn operator(gate: &Gate, method: &str, path: &str, body: Value) -> Value {
    let token = std::fs::read_to_string(gate.home.path("state/admin-token")).expect("a token");
    let client = keepgate_tests::Client::new(gate.admin)
        .path(path)
        .header("authorization", &format!("Bearer {}", token.trim()));
    let answer = client.send(method, body.to_string()).await;
    assert!(answer.status < 300, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_gets_an_issued_account_and_a_kill_takes_it_away() {
    let Some(postgres) = Postgres::start().await else {
        return;
    };
    let vault = OpenBao::start().await;
    postgres.issued_by(&vault, "1h", "24h").await;
    let (_issuer, gate) = start(&vault, &postgres).await;
    let first = whoami(&gate).await;
    assert_eq!(json!(postgres.accounts().await), json!([first]));

    let reference = "vault:database/creds/crm#password";
    let kill = json!({"scope": "credential", "target": reference, "reason": "leaked"});
    let set = operator(&gate, "POST", "/api/v1/kills", kill).await;
    until("the account to be gone", async || {
        postgres.accounts().await.is_empty()
    })
    .await;
    assert_eq!(whoami(&gate).await, "killed", "{set}");
    let path = format!("/api/v1/kills/{}", text(&set, "/kill/id"));
    operator(&gate, "DELETE", &path, json!({"reason": "over"})).await;
    let second = whoami(&gate).await;
    assert_eq!(json!(postgres.accounts().await), json!([second]));
    assert_ne!(first, second);

    // A sealed vault is a refusal with its own code, and nothing old is used beyond its time.
    vault.ask("PUT", "sys/seal", json!({})).await;
    until("the refusal", async || {
        whoami(&gate).await == "credential_unavailable"
    })
    .await;
    vault.unseal().await;
    until("the server to be back", async || {
        whoami(&gate)
            .await
            .as_str()
            .is_some_and(|who| who.starts_with("v-"))
    })
    .await;
    // The process ends, and with it every account.
    let records = gate.end().await;
    assert_eq!(postgres.accounts().await, [""; 0]);
    let outcomes = of_kind(&records, "call.outcome");
    let named = outcomes
        .iter()
        .filter(|outcome| outcome["cred"]["ref"] == reference);
    assert!(named.count() >= 2, "{outcomes:?}");
    postgres.stop().await;
}

/// An account that owns things cannot be dropped: the kill is partial wherever an operator looks, until it is complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_partial_kill_is_reported_until_it_is_complete() {
    let Some(postgres) = Postgres::start().await else {
        return;
    };
    let vault = OpenBao::start().await;
    postgres.issued_by(&vault, "1h", "24h").await;
    let (_issuer, gate) = start(&vault, &postgres).await;
    let user = whoami(&gate).await;
    let user = user.as_str().expect("an account");
    postgres
        .ask(&format!("CREATE SCHEMA theirs AUTHORIZATION \"{user}\""))
        .await;

    let reference = "vault:database/creds/crm#password";
    let set = ["kill", "set", "credential", reference, "--reason", "leaked"];
    let set = gate.home.keepgate(&set).await;
    assert_eq!(set.code, Some(18), "{}{}", set.stdout, set.stderr);
    let set = set.json();
    assert_eq!(set["partial"], true, "{set}");
    // OpenBao may take longer to refuse than the answer waits.
    let listed = async || gate.home.keepgate(&["kill", "list"]).await.json();
    until("the lease to be named", async || {
        listed().await["kills"][0]["remains"]["leases"] == json!([reference])
    })
    .await;
    assert!(gate.metrics().await.contains("keepgate_kill_partial 1"));
    let ready = keepgate_tests::Client::new(gate.admin).path("/readyz");
    let ready = ready.send("GET", "").await;
    let ready = String::from_utf8_lossy(&ready.body).into_owned();
    assert!(ready.contains("PARTIAL"), "{ready}");

    // Over is not complete.
    let path = format!("/api/v1/kills/{}", text(&set, "/kill/id"));
    operator(&gate, "DELETE", &path, json!({"reason": "over"})).await;
    assert_eq!(listed().await["kills"][0]["state"], "cleared");
    postgres.ask("DROP SCHEMA theirs").await;
    until("the kill to be complete", async || {
        listed().await["kills"] == json!([])
    })
    .await;
    assert_eq!(postgres.accounts().await, [""; 0]);
    assert!(gate.metrics().await.contains("keepgate_kill_partial 0"));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let records = gate.end().await;
    for kind in ["kill.partial", "kill.completed"] {
        assert_eq!(of_kind(&records, kind).len(), 1, "{kind}");
    }
    postgres.stop().await;
}
