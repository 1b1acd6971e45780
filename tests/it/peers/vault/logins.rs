//! Logging in: AppRole, a token, a JWT of another issuer; what is refused, and what becomes of it when it is gone.

use keepgate_credential::Login;
use serde_json::{Value, json};

use super::super::process::{serve, until};
use super::super::tokens::machine_token;
use super::{CRM, OpenBao, SECRET, bearer, becomes, line, text};

#[tokio::test(flavor = "multi_thread")]
async fn an_app_role_that_is_refused_is_not_in_and_one_that_is_in_stays() {
    let vault = OpenBao::start().await;
    let settings = vault.settings(vault.app_role("").await);
    let kept = bearer(settings.clone(), CRM);
    becomes(&kept, Ok(SECRET)).await;
    vault.file("secret-id", "another-secret-id");
    let stranger = bearer(settings.clone(), CRM);
    assert_eq!(line(&stranger).await, Err("vault_login_refused"));
    becomes(&kept, Ok(SECRET)).await;
    vault.file("role-id", "another-role-id");
    assert_eq!(
        line(&bearer(settings.clone(), CRM)).await,
        Err("vault_login_refused")
    );
    std::fs::remove_file(vault.folder.path().join("role-id")).expect("a file");
    assert_eq!(
        line(&bearer(settings, CRM)).await,
        Err("vault_login_reference")
    );
    // A secret id that may be used once is enough for one login.
    let once = json!({"num_uses": 1});
    let role = "auth/approle/role/keepgate/secret-id";
    let settings = vault.settings(vault.app_role("").await);
    let made = vault.ask("POST", role, once).await;
    vault.file("secret-id", &text(&made, "/data/secret_id"));
    becomes(&bearer(settings.clone(), CRM), Ok(SECRET)).await;
    assert_eq!(
        line(&bearer(settings, CRM)).await,
        Err("vault_login_refused")
    );
}

/// A token that is revoked is got again: by login, or from its file when that holds another.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_replaced() {
    let vault = OpenBao::start().await;
    let by_login = bearer(vault.settings(vault.app_role("").await), CRM);
    becomes(&by_login, Ok(SECRET)).await;
    let token = vault.token().await;
    let given = bearer(
        vault.settings(Login::Token(vault.file("token", &token))),
        CRM,
    );
    becomes(&given, Ok(SECRET)).await;

    // Every token but root's.
    let listed = vault.ask("LIST", "auth/token/accessors", json!({})).await;
    let accessors: Vec<Value> = listed["data"]["keys"]
        .as_array()
        .expect("accessors")
        .clone();
    let own = vault.ask("GET", "auth/token/lookup-self", json!({})).await;
    for accessor in accessors {
        if accessor != own["data"]["accessor"] {
            let body = json!({"accessor": accessor});
            vault.ask("POST", "auth/token/revoke-accessor", body).await;
        }
    }
    becomes(&given, Err("vault_login_refused")).await;
    vault.file("token", &vault.token().await);
    becomes(&given, Ok(SECRET)).await;
    becomes(&by_login, Ok(SECRET)).await;
    given.close().await;
    // A given token is not ours to revoke.
    let client = vault.client("").path("/v1/auth/token/lookup-self");
    let token = std::fs::read_to_string(vault.folder.path().join("token")).expect("a token");
    let looked = client.header("x-vault-token", &token).send("GET", "").await;
    assert_eq!(looked.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_is_renewed() {
    let vault = OpenBao::start().await;
    let role = json!({"token_ttl": "4s", "token_max_ttl": "1h", "token_policies": "keepgate"});
    vault.ask("POST", "auth/approle/role/keepgate", role).await;
    let store = bearer(vault.settings(vault.app_role("").await), CRM);
    becomes(&store, Ok(SECRET)).await;
    // The store is not asked meanwhile: a token must not run out for want of calls.
    until("a renewal", async || {
        let listed = vault.ask("LIST", "auth/token/accessors", json!({})).await;
        for accessor in listed["data"]["keys"].as_array().expect("accessors") {
            let client = vault.client("").path("/v1/auth/token/lookup-accessor");
            let looked = client.send("POST", json!({"accessor": accessor}).to_string());
            // One that has ended since cannot be looked up.
            let looked: Value = serde_json::from_slice(&looked.await.body).unwrap_or_default();
            if looked["data"]["last_renewal_time"].is_number() {
                return true;
            }
        }
        false
    })
    .await;
    becomes(&store, Ok(SECRET)).await;
    store.close().await;
}

/// `auth.jwt`: the token of an OpenID provider that knows nothing of the vault.
#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_of_another_issuer_logs_in() {
    const AUDIENCE: &str = "https://vault.example";
    let vault = OpenBao::start().await;
    let (_issuer, issuer) = serve("oidc", &[]).await;
    vault
        .ask("POST", "sys/auth/workload", json!({"type": "jwt"}))
        .await;
    let believed = json!({"oidc_discovery_url": issuer, "bound_issuer": issuer});
    vault.ask("POST", "auth/workload/config", believed).await;
    let role = json!({"role_type": "jwt", "bound_audiences": [AUDIENCE], "user_claim": "client_id",
        "token_policies": "keepgate", "token_ttl": "600s"});
    vault.ask("POST", "auth/workload/role/keepgate", role).await;
    let login = |mount: &str, role: &str, token: &str| Login::Jwt {
        mount: mount.to_owned(),
        role: role.to_owned(),
        token: vault.file("jwt", token),
    };

    let token = machine_token(&issuer, AUDIENCE, "tools:read").await;
    let store = bearer(vault.settings(login("workload", "keepgate", &token)), CRM);
    becomes(&store, Ok(SECRET)).await;
    store.close().await;
    let foreign = machine_token(&issuer, "https://another.example", "tools:read").await;
    let (signed, _) = token.rsplit_once('.').expect("a signature");
    for (mount, role, token, why) in [
        (
            "workload",
            "keepgate",
            foreign.as_str(),
            "for somebody else",
        ),
        (
            "workload",
            "keepgate",
            &format!("{signed}.c2lnbmVk"),
            "signed by nobody",
        ),
        ("workload", "keepgate", "no.token.at-all", "no token"),
        ("workload", "another", &token, "no such role"),
        ("absent", "keepgate", &token, "no such method"),
    ] {
        let store = bearer(vault.settings(login(mount, role, token)), CRM);
        assert_eq!(line(&store).await, Err("vault_login_refused"), "{why}");
    }
    // The file is read again at each login: its owner replaces the token before it ends.
    let waiting = bearer(vault.settings(login("workload", "keepgate", &foreign)), CRM);
    becomes(&waiting, Err("vault_login_refused")).await;
    vault.file("jwt", &token);
    becomes(&waiting, Ok(SECRET)).await;
}
