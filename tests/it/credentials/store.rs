//! The store against the fake vault: every engine, every failure, and how long things last.

use std::{sync::Arc, time::Duration};

use keepgate_call::ServerName;
use keepgate_credential::{Credentials, Form, Scope, Settings, Terms, Use, VaultSettings};
use keepgate_tests::{FakeVault, Gate, vault::Mood};
use serde_json::json;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::{SECRET, line, private, store, up, vault, wanted};

const KV2: &str = "vault:secret/mcp/crm#token";
const LEASED: &str = "vault:database/creds/crm#password";

/// A vault with one secret in each KV engine.
async fn filled() -> FakeVault {
    let vault = FakeVault::start().await;
    vault.put(
        "secret/mcp/crm",
        json!({"token": SECRET, "user": "svc", "port": 5432}),
    );
    vault.put("kv/crm", json!({"token": "kv-one-secret"}));
    vault
}

async fn moment() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test]
async fn every_failure_is_told_apart() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = VaultSettings {
        // One of the moods is silence. Long enough for the others on a busy machine.
        timeout: Duration::from_secs(3),
        ..vault(&fake, directory.path())
    };
    let elsewhere = FakeVault::start().await;
    let moods = [
        (Mood::Sealed, "vault_sealed"),
        (Mood::Standby(elsewhere.address.clone()), "vault_standby"),
        (Mood::Leaderless, "vault_standby"),
        (Mood::Uninitialised, "vault_uninitialised"),
        (Mood::Limited, "vault_rate_limited"),
        (Mood::Silent, "vault_slow"),
        (Mood::Half, "vault_broken"),
        (Mood::Proxy, "vault_invalid"),
        (Mood::Endless, "vault_too_large"),
        (Mood::Broken, "vault_failing"),
    ];
    for (mood, word) in moods {
        let store = store(Some(settings.clone()), wanted(KV2, Form::Bearer));
        // Logged in while all was well, so that it is the read that fails.
        let other = super::store(
            Some(settings.clone()),
            wanted("vault:kv/crm#token", Form::Bearer),
        );
        assert!(line(&other).await.is_ok());
        fake.content().mood = mood.clone();
        assert_eq!(line(&store).await, Err(word), "{mood:?}");
        fake.content().mood = Mood::Fine;
    }
    assert!(
        elsewhere.content().asked.is_empty(),
        "redirects are not followed"
    );
    let nowhere = VaultSettings {
        address: "http://127.0.0.1:1".parse().unwrap(),
        ..settings
    };
    let nowhere = super::store(Some(nowhere), wanted(KV2, Form::Bearer));
    assert_eq!(line(&nowhere).await, Err("vault_unreachable"));
}

#[tokio::test]
async fn many_callers_make_one_fetch() {
    let fake = filled().await;
    let gate = Gate::default();
    let directory = TempDir::new().unwrap();
    let store = Arc::new(store(
        Some(vault(&fake, directory.path())),
        wanted(LEASED, Form::Bearer),
    ));
    fake.content().mood = Mood::Waits(gate.clone());
    let callers: Vec<_> = (0..200)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { line(&store).await })
        })
        .collect();
    // One of them gives up before it has it.
    callers[0].abort();
    gate.open();
    for caller in callers.into_iter().skip(1) {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(fake.asked("GET database/creds"), 1);
    assert_eq!(fake.asked("POST auth/approle/login"), 1);
    store.close().await;
}

#[tokio::test]
async fn servers_that_wait_for_a_login_share_its_failure() {
    const SERVERS: usize = 30;
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = VaultSettings {
        timeout: Duration::from_secs(1),
        ..vault(&fake, directory.path())
    };
    let name = |number: usize| ServerName::parse(&format!("up-{number}")).unwrap();
    let uses = (0..SERVERS).map(|number| {
        let reference = format!("vault:secret/mcp/{number}#token");
        (name(number), vec![wanted(&reference, Form::Bearer)])
    });
    let store = Credentials::new(&TaskTracker::new());
    let settings = Settings {
        vault: Some(settings),
    };
    store.configure(&settings, &uses.collect()).unwrap();
    fake.content().mood = Mood::Silent;
    let all = (0..SERVERS).map(|number| {
        let source = store.of(&name(number)).unwrap();
        async move {
            source
                .acquire()
                .await
                .map(drop)
                .map_err(|error| error.fault.word())
        }
    });
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|one| *one == Err("vault_slow")), "{all:?}");
    // One logs in for all that are there while it does; a slow machine may bring some in later.
    let logins = fake.asked("POST auth/approle/login");
    assert!(logins <= 4, "{logins} logins, one after the other");
    // Whoever comes later tries again.
    fake.content().mood = Mood::Fine;
    let source = store.of(&name(0)).unwrap();
    for _ in 0..1_000 {
        let word = source.acquire().await.err().map(|error| error.fault.word());
        if word == Some("vault_not_found") {
            return;
        }
        moment().await;
    }
    panic!("the vault is not asked again");
}

#[tokio::test]
async fn a_failure_is_not_asked_again_at_once() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let store = store(
        Some(vault(&fake, directory.path())),
        wanted("vault:secret/absent#x", Form::Bearer),
    );
    for _ in 0..50 {
        assert_eq!(line(&store).await, Err("vault_not_found"));
    }
    let asked = fake.asked("GET secret/data/absent");
    assert!(asked <= 3, "{asked}");
}

#[tokio::test]
async fn what_is_over_is_not_used_when_the_vault_is_down() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = VaultSettings {
        max_age: Duration::from_millis(300),
        ..vault(&fake, directory.path())
    };
    let store = store(Some(settings), wanted(KV2, Form::Bearer));
    let began = std::time::Instant::now();
    assert!(line(&store).await.is_ok());
    fake.content().mood = Mood::Sealed;
    let mut last_good = began;
    let word = loop {
        match line(&store).await {
            Ok(_) => last_good = std::time::Instant::now(),
            Err(word) => break word,
        }
        moment().await;
    };
    assert_eq!(word, "vault_sealed");
    assert!(last_good.duration_since(began) < Duration::from_secs(5));
    fake.content().mood = Mood::Fine;
    while line(&store).await.is_err() {
        moment().await;
    }
}

#[tokio::test]
async fn a_file_that_changes_is_taken_over_and_one_that_opens_up_is_not() {
    let directory = TempDir::new().unwrap();
    let text = private(directory.path(), "crm", "the-first-secret\n");
    let store = store(None, wanted(&text, Form::Bearer));
    assert_eq!(line(&store).await, Ok("Bearer the-first-secret".to_owned()));
    private(directory.path(), "crm", "the-second-secret\n");
    // As when the server has refused the first.
    let source = store.of(&up()).unwrap();
    source.reject(&source.acquire().await.unwrap());
    assert_eq!(
        line(&store).await,
        Ok("Bearer the-second-secret".to_owned())
    );
    let path = directory.path().join("crm");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    source.reject(&source.acquire().await.unwrap());
    assert_eq!(line(&store).await, Err("file_mode"));
}

/// An engine whose leases cannot be renewed: they are looked up, and used as long as there is enough left of them.
#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_looked_up() {
    let fake = filled().await;
    fake.content().renewable = false;
    let directory = TempDir::new().unwrap();
    let settings = VaultSettings {
        max_age: Duration::from_millis(60),
        ..vault(&fake, directory.path())
    };
    let store = store(Some(settings), wanted(LEASED, Form::Bearer));
    let first = line(&store).await.unwrap();
    while fake.asked("POST sys/leases/lookup") < 3 {
        assert_eq!(line(&store).await, Ok(first.clone()));
        moment().await;
    }
    assert_eq!(fake.asked("POST sys/leases/renew"), 0);
    assert_eq!(fake.content().leases.len(), 1);
    store.close().await;
    assert!(fake.content().leases.is_empty());
}

/// A vault that accepts a revocation and does nothing.
#[tokio::test]
async fn a_revocation_in_word_only_does_not_count() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let store = store(
        Some(vault(&fake, directory.path())),
        wanted(LEASED, Form::Bearer),
    );
    line(&store).await.unwrap();
    assert_eq!(store.end(Scope::Reference("env:OTHER")).await.servers, []);
    fake.content().lies = true;
    let ended = store.end(Scope::All).await;
    assert_eq!((ended.revoked, ended.pending.len()), (0, 1));
    assert_eq!(store.pending().len(), 1);
    fake.content().lies = false;
    while !store.pending().is_empty() {
        moment().await;
    }
    assert!(fake.content().leases.is_empty());
}

#[tokio::test]
async fn what_was_ended_on_its_way_is_not_used() {
    let fake = filled().await;
    let gate = Gate::default();
    let directory = TempDir::new().unwrap();
    let store = Arc::new(store(
        Some(vault(&fake, directory.path())),
        wanted(LEASED, Form::Bearer),
    ));
    fake.content().mood = Mood::Waits(gate.clone());
    let fetching = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { line(&store).await })
    };
    while fake.content().asked.is_empty() {
        moment().await;
    }
    store.end(Scope::All).await;
    gate.open();
    assert_eq!(fetching.await.unwrap(), Err("ended"));
    while !store.pending().is_empty() || !fake.content().leases.is_empty() {
        moment().await;
    }
}

#[tokio::test]
async fn a_vault_with_a_certificate_of_its_own() {
    // TLS in front of the fake, which speaks plainly.
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let port = super::tls::tls_in_front(&fake.address, &made).await;
    let settings = VaultSettings {
        address: format!("https://localhost:{port}").parse().unwrap(),
        ..vault(&fake, directory.path())
    };
    let stranger = store(Some(settings.clone()), wanted(KV2, Form::Bearer));
    assert_eq!(line(&stranger).await, Err("vault_unreachable"));
    let known = VaultSettings {
        ca: Some(ca),
        ..settings
    };
    let store = store(Some(known), wanted(KV2, Form::Bearer));
    assert_eq!(line(&store).await, Ok(format!("Bearer {SECRET}")));
}

/// `dynamic_secret`: what has no lease is not used.
#[tokio::test]
async fn a_definition_that_wants_a_lease_uses_nothing_else() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = vault(&fake, directory.path());
    for (text, expected) in [(KV2, Err("not_leased")), (LEASED, Ok(()))] {
        let leased = Use {
            terms: Terms {
                leased: true,
                ..Terms::default()
            },
            ..wanted(text, Form::Bearer)
        };
        let store = store(Some(settings.clone()), leased);
        assert_eq!(line(&store).await.map(drop), expected, "{text}");
        store.close().await;
    }
}
