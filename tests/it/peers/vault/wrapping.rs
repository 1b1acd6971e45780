//! Response wrapping: a login's secret in a token that opens once, and only if it is the one it should be.

use keepgate_credential::{Login, VaultSettings};
use serde_json::json;
use std::time::Duration;

use super::{CRM, OpenBao, SECRET, bearer, becomes, configure, line, text, wanted};

const SECRET_ID: &str = "auth/approle/role/keepgate/secret-id";
const TOKEN: &str = "auth/token/create";

/// Settings whose secret id arrives in a wrapping token, and that token.
async fn wrapped(vault: &OpenBao) -> (VaultSettings, String) {
    let login = vault.app_role("").await;
    let token = vault.wrapped(SECRET_ID, json!({}), "10m").await;
    vault.file("secret-id", &token);
    let settings = VaultSettings {
        wrapped_by: Some(SECRET_ID.to_owned()),
        ..vault.settings(login)
    };
    (settings, token)
}

/// Ends every token of the role, so that the gateway has to log in again.
async fn end_tokens(vault: &OpenBao) {
    let prefix = "sys/leases/revoke-prefix/auth/approle/login";
    vault.ask("PUT", prefix, json!({"sync": true})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_secret_id_opens_once_and_serves_every_later_login() {
    let vault = OpenBao::start().await;
    let (settings, token) = wrapped(&vault).await;
    let store = bearer(settings.clone(), CRM);
    becomes(&store, Ok(SECRET)).await;
    // Logging in again does not open the token again: it could not.
    end_tokens(&vault).await;
    becomes(&store, Ok(SECRET)).await;
    // Nor does a reload that changes something else, or a file that is cleared away after its use.
    let path = vault.folder.path().join("secret-id");
    std::fs::remove_file(&path).expect("a file");
    let reloaded = VaultSettings {
        timeout: Duration::from_secs(61),
        ..settings.clone()
    };
    configure(
        &store,
        reloaded,
        wanted(CRM, keepgate_credential::Form::Bearer),
    );
    becomes(&store, Ok(SECRET)).await;
    end_tokens(&vault).await;
    becomes(&store, Ok(SECRET)).await;

    // Whoever comes second has nothing, and a fault of its own.
    vault.file("secret-id", &token);
    let second = bearer(settings.clone(), CRM);
    assert_eq!(line(&second).await, Err("vault_wrapping_refused"));
    // A new token in the file is opened at the next login.
    vault.file(
        "secret-id",
        &vault.wrapped(SECRET_ID, json!({}), "10m").await,
    );
    becomes(&second, Ok(SECRET)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapping_token_that_is_not_what_it_should_be_is_refused() {
    let vault = OpenBao::start().await;
    let (settings, _) = wrapped(&vault).await;
    let login = vault.app_role("").await;
    let Login::AppRole { secret_id, .. } = &login else {
        panic!("an AppRole")
    };
    let plain = secret_id.as_ref().expect("a secret id").to_string();
    let plain = plain.strip_prefix("file:").expect("a file");
    // Good in itself, but not wrapped: it has travelled in clear.
    let plain = std::fs::read_to_string(plain).expect("a secret id");
    let chosen = json!({"secret_id": plain});
    let planted = vault.wrapped("sys/wrapping/wrap", chosen, "10m").await;
    let other_role = vault
        .wrapped(
            "auth/approle/role/keepgate/secret-id/lookup",
            json!({"secret_id": plain}),
            "10m",
        )
        .await;
    let short = vault.wrapped(SECRET_ID, json!({}), "1s").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for (content, word, why) in [
        (plain.as_str(), "vault_wrapping_refused", "not wrapped"),
        (
            &planted,
            "vault_wrapping_path",
            "wrapped by whoever wanted to",
        ),
        (
            &other_role,
            "vault_wrapping_path",
            "an answer of another path",
        ),
        (&short, "vault_wrapping_refused", "expired"),
        (
            &vault.root,
            "vault_wrapping_refused",
            "a token, but no wrapping one",
        ),
    ] {
        vault.file("secret-id", content);
        let store = bearer(settings.clone(), CRM);
        assert_eq!(line(&store).await, Err(word), "{why}");
    }
    // What was not ours was looked at and not opened.
    let looked = json!({"token": planted});
    let looked = vault.ask("POST", "sys/wrapping/lookup", looked).await;
    assert_eq!(looked["data"]["creation_path"], "sys/wrapping/wrap");
    // With the right content the same settings work.
    vault.file(
        "secret-id",
        &vault.wrapped(SECRET_ID, json!({}), "10m").await,
    );
    becomes(&bearer(settings, CRM), Ok(SECRET)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_token_is_the_gateways_alone() {
    let vault = OpenBao::start().await;
    let body = json!({"policies": ["keepgate"], "ttl": "1h"});
    let wrapping = vault.wrapped(TOKEN, body.clone(), "10m").await;
    let settings = VaultSettings {
        wrapped_by: Some(TOKEN.to_owned()),
        ..vault.settings(Login::Token(vault.file("token", &wrapping)))
    };
    let store = bearer(settings.clone(), CRM);
    becomes(&store, Ok(SECRET)).await;
    let count = async || {
        let listed = vault.ask("LIST", "auth/token/accessors", json!({})).await;
        listed["data"]["keys"].as_array().expect("accessors").len()
    };
    assert_eq!(count().await, 2, "root's and the unwrapped one");
    // A reload goes on with it.
    let reloaded = VaultSettings {
        timeout: Duration::from_secs(61),
        ..settings.clone()
    };
    configure(
        &store,
        reloaded,
        wanted(CRM, keepgate_credential::Form::Bearer),
    );
    becomes(&store, Ok(SECRET)).await;
    // Nobody else can use it, so it ends with us.
    store.close().await;
    assert_eq!(count().await, 1);
    // An ordinary token in place of a wrapping one is not used.
    let made = vault.ask("POST", TOKEN, body).await;
    vault.file("token", &text(&made, "/auth/client_token"));
    let open = bearer(settings, CRM);
    assert_eq!(line(&open).await, Err("vault_wrapping_refused"));
}
