//! The vault itself: sealed, in a namespace, and driven by a client that is not ours.

use keepgate_credential::VaultSettings;
use serde_json::json;

use super::super::hvac;
use super::postgres::Postgres;
use super::{CRM, OpenBao, SECRET, bearer, becomes, line, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_vault_is_told_apart_and_opens_again() {
    let vault = OpenBao::start().await;
    let settings = vault.settings(vault.app_role("").await);
    let kept = bearer(settings.clone(), CRM);
    becomes(&kept, Ok(SECRET)).await;
    vault.ask("PUT", "sys/seal", json!({})).await;
    // For who is in and for who wants to log in.
    becomes(&kept, Err("vault_sealed")).await;
    assert_eq!(line(&bearer(settings, CRM)).await, Err("vault_sealed"));
    vault.unseal().await;
    becomes(&kept, Ok(SECRET)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_holds_its_own_and_nothing_else() {
    let vault = OpenBao::start().await;
    for namespace in ["team", "other"] {
        let path = format!("sys/namespaces/{namespace}");
        vault.ask("POST", &path, json!({})).await;
        vault.fill(namespace).await;
    }
    let own = json!({"data": {"token": "the-secret-of-the-team"}});
    vault.ask_in("team", "secret/data/mcp/crm", own).await;
    let within = |namespace: Option<&str>, login| VaultSettings {
        namespace: namespace.map(str::to_owned),
        ..vault.settings(login)
    };
    let settings = within(Some("team"), vault.app_role("team").await);
    let store = bearer(settings.clone(), CRM);
    becomes(&store, Ok("the-secret-of-the-team")).await;
    // The role of a namespace is a stranger everywhere else.
    for elsewhere in [None, Some("other"), Some("absent")] {
        let settings = within(elsewhere, settings.login.clone());
        assert_eq!(
            line(&bearer(settings, CRM)).await,
            Err("vault_login_refused"),
            "{elsewhere:?}"
        );
    }
    // And the root's role does not see into it.
    let root = within(None, vault.app_role("").await);
    becomes(&bearer(root, CRM), Ok(SECRET)).await;
}

/// The same script takes the fake for a vault (`hvac_takes_the_fake_for_a_vault`): what it relies on, both have.
#[tokio::test(flavor = "multi_thread")]
async fn hvac_takes_the_real_one_as_it_takes_the_fake() {
    let Some(postgres) = Postgres::start().await else {
        return;
    };
    let vault = OpenBao::start().await;
    postgres.issued_by(&vault, "1h", "24h").await;
    let policy = json!({"policy": "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"list\"] }"});
    vault.ask("POST", "sys/policies/acl/keepgate", policy).await;
    let role = "auth/approle/role/keepgate";
    let id = vault
        .ask("GET", &format!("{role}/role-id"), json!({}))
        .await;
    let secret = vault
        .ask("POST", &format!("{role}/secret-id"), json!({}))
        .await;
    let address = format!("http://127.0.0.1:{}", vault.port);
    let ids = [text(&id, "/data/role_id"), text(&secret, "/data/secret_id")];
    let printed = hvac(&address, "everything", &["", &ids[0], &ids[1]]).await;
    assert!(printed.contains("all as it should be"), "{printed}");
    assert_eq!(postgres.accounts().await, [""; 0]);
    postgres.stop().await;
}
