//! Both versions of KV: what they hold, what they lack, and that one is not read as the other.

use keepgate_credential::{Engine, Form, Terms, Use};
use serde_json::json;
use std::time::Duration;

use super::{CRM, OpenBao, SECRET, bearer, becomes, line, store, up, wanted};

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_kv_gives_what_is_in_it() {
    let vault = OpenBao::start().await;
    let settings = vault.settings(vault.app_role("").await);
    for (reference, secret) in [(CRM, SECRET), ("vault:kv/crm#token", "kv-one-secret")] {
        let store = bearer(settings.clone(), reference);
        assert_eq!(
            line(&store).await,
            Ok(format!("Bearer {secret}")),
            "{reference}"
        );
        store.close().await;
    }
    // The tokens of logins were given back; those of init and of nobody else are left.
    let left = vault.ask("LIST", "auth/token/accessors", json!({})).await;
    assert_eq!(
        left["data"]["keys"].as_array().expect("accessors").len(),
        1,
        "{left}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_entry_is_told_apart() {
    let vault = OpenBao::start().await;
    let settings = vault.settings(vault.app_role("").await);
    for (reference, word) in [
        ("vault:secret/mcp/absent#token", "vault_not_found"),
        ("vault:secret/mcp/crm#absent", "vault_no_field"),
        ("vault:secret/mcp/crm#port", "vault_no_field"),
        ("vault:secret/mcp/crm#user", "too_short"),
        ("vault:kv/absent#token", "vault_not_found"),
        ("vault:secret/others/crm#token", "vault_forbidden"),
    ] {
        let store = bearer(settings.clone(), reference);
        assert_eq!(line(&store).await, Err(word), "{reference}");
    }
    // The newest version counts, even if it is a deleted one.
    let kept = bearer(settings.clone(), CRM);
    becomes(&kept, Ok(SECRET)).await;
    vault.ask("DELETE", "secret/data/mcp/crm", json!({})).await;
    becomes(&kept, Err("vault_not_found")).await;
    let undelete = json!({"versions": [1]});
    vault
        .ask("POST", "secret/undelete/mcp/crm", undelete.clone())
        .await;
    becomes(&kept, Ok(SECRET)).await;
    vault.ask("PUT", "secret/destroy/mcp/crm", undelete).await;
    becomes(&kept, Err("vault_not_found")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kv_1_is_not_read_as_kv_2_nor_the_other_way_round() {
    let vault = OpenBao::start().await;
    let mut settings = vault.settings(vault.app_role("").await);
    // The policy allows the paths of both readings, so that it is the engines that say no.
    let policy = "path \"*\" { capabilities = [\"read\"] }";
    vault
        .ask(
            "POST",
            "sys/policies/acl/keepgate",
            json!({"policy": policy}),
        )
        .await;
    settings.mounts.insert("secret".to_owned(), Engine::Kv1);
    settings.mounts.insert("kv".to_owned(), Engine::Kv2);
    for reference in [CRM, "vault:kv/crm#token"] {
        let store = bearer(settings.clone(), reference);
        assert_eq!(line(&store).await, Err("vault_not_found"), "{reference}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changes_is_taken_over() {
    let vault = OpenBao::start().await;
    let settings = vault.settings(vault.app_role("").await);
    let store = bearer(settings, CRM);
    becomes(&store, Ok(SECRET)).await;
    let source = store.of(&up()).expect("a source");
    let generation = async || {
        let held = source.acquire().await.expect("a credential");
        held.material().generation()
    };
    let first = generation().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(generation().await, first, "read again, the same secret");
    let next = json!({"data": {"token": "the-next-secret"}});
    vault.ask("POST", "secret/data/mcp/crm", next).await;
    becomes(&store, Ok("the-next-secret")).await;
    assert_eq!(generation().await, first + 1);
}

/// `rotation_days`: what nobody changed for longer is used, and reported as overdue. Only version 2 of KV knows the age.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_secret_is_overdue_and_used() {
    let vault = OpenBao::start().await;
    let settings = vault.settings(vault.app_role("").await);
    tokio::time::sleep(Duration::from_millis(5)).await;
    for (reference, rotation, overdue) in [
        (CRM, Some(Duration::from_millis(1)), Some(true)),
        (CRM, Some(Duration::from_secs(24 * 60 * 60)), Some(false)),
        (CRM, None, None),
        ("vault:kv/crm#token", Some(Duration::from_millis(1)), None),
    ] {
        let watched = Use {
            terms: Terms {
                rotation,
                ..Terms::default()
            },
            ..wanted(reference, Form::Bearer)
        };
        let store = store(settings.clone(), watched);
        assert!(line(&store).await.is_ok(), "{reference}");
        assert_eq!(
            store.status()[0].overdue,
            overdue,
            "{reference} {rotation:?}"
        );
        store.close().await;
    }
}
