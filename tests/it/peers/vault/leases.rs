//! Accounts of PostgreSQL that OpenBao issues with a lease: they let one in, are renewed, and are gone when they should be.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keepgate_credential::{Credentials, Form, Scope, User, VaultSettings};
use serde_json::json;

use super::super::process::until;
use super::postgres::Postgres;
use super::{CRM, OpenBao, configure, line, store, up, wanted};

const LEASED: &str = "vault:database/creds/crm#password";

fn basic() -> Form {
    Form::Basic(User::Field("username".to_owned()))
}

/// User and password that a server would get now.
async fn account(store: &Credentials) -> (String, String) {
    let line = line(store).await.expect("a credential");
    let encoded = line.strip_prefix("Basic ").expect("basic");
    let decoded = STANDARD.decode(encoded).expect("base64");
    let text = String::from_utf8(decoded).expect("text");
    let (user, password) = text.split_once(':').expect("two parts");
    (user.to_owned(), password.to_owned())
}

/// The lease of the credential in use.
async fn lease(store: &Credentials) -> Arc<str> {
    let source = store.of(&up()).expect("a source");
    let held = source.acquire().await.expect("a credential");
    Arc::clone(held.material().lease().expect("a lease"))
}

async fn world(ttl: &str, max_ttl: &str) -> Option<(Postgres, OpenBao, VaultSettings)> {
    let postgres = Postgres::start().await?;
    let vault = OpenBao::start().await;
    postgres.issued_by(&vault, ttl, max_ttl).await;
    let settings = vault.settings(vault.app_role("").await);
    Some((postgres, vault, settings))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issued_account_works_and_a_revoked_one_is_gone() {
    let Some((postgres, vault, settings)) = world("1h", "24h").await else {
        return;
    };
    let store = store(settings.clone(), wanted(LEASED, basic()));
    for scope in [Scope::All, Scope::Reference(LEASED), Scope::Server(&up())] {
        let (user, password) = account(&store).await;
        let who = async || {
            postgres
                .query(&user, &password, "SELECT current_user")
                .await
        };
        assert_eq!(who().await.as_deref(), Some(user.as_str()));
        let lease = lease(&store).await;
        let ended = store.end(scope).await;
        assert_eq!((ended.revoked, ended.pending.len()), (1, 0), "{scope:?}");
        // At once: the answer was that it is gone.
        assert_eq!(who().await, None, "{scope:?}");
        assert!(!vault.has_lease(&lease).await, "{scope:?}");
    }
    // The server refuses what it got: given back, and the next call has another account.
    let (refused, _) = account(&store).await;
    let source = store.of(&up()).expect("a source");
    source.reject(&source.acquire().await.expect("a credential"));
    let (fresh, _) = account(&store).await;
    assert_ne!(refused, fresh);
    until("the refused account to be gone", async || {
        postgres.accounts().await == [fresh.clone()]
    })
    .await;
    // The configuration names another secret: the lease of the old one ends.
    configure(&store, settings.clone(), wanted(CRM, Form::Bearer));
    until("the unwanted account to be gone", async || {
        postgres.accounts().await.is_empty()
    })
    .await;
    configure(&store, settings, wanted(LEASED, basic()));
    account(&store).await;
    assert_eq!(store.close().await.revoked, 1);
    assert_eq!(postgres.accounts().await, [""; 0]);
    postgres.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_and_issued_anew_when_it_cannot_be() {
    let Some((postgres, vault, settings)) = world("1h", "24h").await else {
        return;
    };
    // Renewed: each look asks, the account stays, and its time begins again.
    let store = store(settings.clone(), wanted(LEASED, basic()));
    let (first, _) = account(&store).await;
    let lease = lease(&store).await;
    let renewed = async || {
        let body = json!({"lease_id": &*lease});
        let looked = vault.ask("PUT", "sys/leases/lookup", body).await;
        looked["data"]["last_renewal"].is_string()
    };
    until("a renewal", async || {
        assert_eq!(account(&store).await.0, first);
        renewed().await
    })
    .await;
    assert_eq!(postgres.accounts().await, [first]);
    store.close().await;

    // Not for longer than the role allows: another account is asked for before the present one ends.
    postgres.role(&vault, "24s", "24s").await;
    let store = super::store(settings, wanted(LEASED, basic()));
    let (first, password) = account(&store).await;
    // With a third of its time left it is not renewed any more. Until then each look has asked.
    until("another account", async || account(&store).await.0 != first).await;
    // Calls that run with the first go on, until it ends or is ended: then both are gone, at once.
    let first_is_in = async || {
        postgres
            .query(&first, &password, "SELECT 1")
            .await
            .is_some()
    };
    assert!(first_is_in().await);
    let ended = store.end(Scope::Reference(LEASED)).await;
    assert_eq!((ended.revoked, ended.pending.len()), (2, 0));
    assert!(!first_is_in().await);
    assert_eq!(postgres.accounts().await, [""; 0]);
    store.close().await;
    postgres.stop().await;
}

/// A credential nobody asked for in its time is renewed at the next call. One issued again each time would leave the one before
/// where no kill finds it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rest_leaves_no_account_behind() {
    let Some((postgres, _vault, settings)) = world("1h", "24h").await else {
        return;
    };
    let store = store(settings, wanted(LEASED, basic()));
    let (user, _) = account(&store).await;
    for _ in 0..5 {
        // Longer than its age of a millisecond.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(account(&store).await.0, user);
    }
    assert_eq!(postgres.accounts().await, [user]);
    store.end(Scope::All).await;
    assert_eq!(postgres.accounts().await, [""; 0]);
    postgres.stop().await;
}

/// An account that owns things cannot be dropped: OpenBao refuses and keeps the lease. The end is partial, and tried until it
/// is whole.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_be_dropped_is_a_partial_end() {
    let Some((postgres, vault, settings)) = world("1h", "24h").await else {
        return;
    };
    let store = store(settings, wanted(LEASED, basic()));
    let (user, _) = account(&store).await;
    let lease = lease(&store).await;
    postgres
        .ask(&format!("CREATE SCHEMA theirs AUTHORIZATION \"{user}\""))
        .await;
    let ended = store.end(Scope::All).await;
    assert_eq!((ended.revoked, ended.pending.len()), (0, 1));
    assert_eq!(store.pending().len(), 1);
    assert!(vault.has_lease(&lease).await);
    assert_eq!(postgres.accounts().await, [user]);
    postgres.ask("DROP SCHEMA theirs").await;
    until("the account to be gone", async || {
        store.pending().is_empty()
    })
    .await;
    assert!(!vault.has_lease(&lease).await);
    assert_eq!(postgres.accounts().await, [""; 0]);
    postgres.stop().await;
}

/// A vault that is sealed meanwhile does not lose a revocation.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_outlasts_a_sealed_vault() {
    let Some((postgres, vault, settings)) = world("1h", "24h").await else {
        return;
    };
    let settings = VaultSettings {
        max_age: Duration::from_secs(60),
        ..settings
    };
    let store = store(settings, wanted(LEASED, basic()));
    account(&store).await;
    vault.ask("PUT", "sys/seal", json!({})).await;
    let ended = store.end(Scope::All).await;
    assert_eq!((ended.revoked, ended.pending.len()), (0, 1));
    vault.unseal().await;
    until("the account to be gone", async || {
        store.pending().is_empty() && postgres.accounts().await.is_empty()
    })
    .await;
    postgres.stop().await;
}
