//! The store against the fake vault: every engine, every failure, and how long things last.

use std::{sync::Arc, time::Duration};

use keepgate_credential::{Form, Login, Scope, Terms, Use, User, VaultSettings};
use keepgate_tests::{FakeVault, Gate, vault::Mood};
use serde_json::json;
use tempfile::TempDir;

use super::{SECRET, line, private, reference, store, up, vault, wanted};

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

/// Settings under which a value is over at once, so that each look asks the vault.
fn impatient(settings: VaultSettings) -> VaultSettings {
    VaultSettings {
        max_age: Duration::from_millis(1),
        ..settings
    }
}

async fn moment() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test]
async fn every_engine_gives_what_is_in_it() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = vault(&fake, directory.path());
    let basic = Form::Basic(User::Field("username".to_owned()));
    for (text, form, expected) in [
        (KV2, Form::Bearer, format!("Bearer {SECRET}")),
        (
            "vault:kv/crm#token",
            Form::Bearer,
            "Bearer kv-one-secret".to_owned(),
        ),
        (
            LEASED,
            basic,
            "Basic di1jcm0tMzpsZWFzZWQtcGFzc3dvcmQtMy1aeDk=".to_owned(),
        ),
    ] {
        let store = store(Some(settings.clone()), wanted(text, form));
        let got = line(&store).await;
        if text == LEASED {
            assert!(got.unwrap().starts_with("Basic "), "{text}");
            assert_eq!(fake.content().leases.len(), 1);
        } else {
            assert_eq!(got, Ok(expected), "{text}");
        }
        store.close().await;
    }
    assert!(fake.content().leases.is_empty(), "closed: revoked");
    let left = fake.content().tokens.len();
    assert_eq!(left, 1, "the tokens of logins are given back");
}

#[tokio::test]
async fn a_token_from_a_file_and_a_namespace() {
    let fake = filled().await;
    fake.content().namespace = Some("team/a".to_owned());
    let directory = TempDir::new().unwrap();
    let settings = VaultSettings {
        login: Login::Token(reference(&private(
            directory.path(),
            "token",
            "root-token\n",
        ))),
        ..vault(&fake, directory.path())
    };
    let without = store(Some(settings.clone()), wanted(KV2, Form::Bearer));
    assert_eq!(line(&without).await, Err("vault_login_refused"));
    let within = VaultSettings {
        namespace: Some("team/a".to_owned()),
        ..settings
    };
    let store = store(Some(within), wanted(KV2, Form::Bearer));
    assert_eq!(line(&store).await, Ok(format!("Bearer {SECRET}")));
    store.close().await;
    assert_eq!(
        fake.asked("POST auth/token/revoke-self"),
        0,
        "a given token is not ours to revoke"
    );
}

#[tokio::test]
async fn every_failure_is_told_apart() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = VaultSettings {
        timeout: Duration::from_millis(700),
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
}

#[tokio::test]
async fn every_wrong_entry_is_told_apart() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = vault(&fake, directory.path());
    for (text, word) in [
        ("vault:secret/mcp/absent#token", "vault_not_found"),
        ("vault:secret/mcp/crm#absent", "vault_no_field"),
        ("vault:secret/mcp/crm#port", "vault_no_field"),
        ("vault:secret/mcp/crm#user", "too_short"),
    ] {
        let store = store(Some(settings.clone()), wanted(text, Form::Bearer));
        assert_eq!(line(&store).await, Err(word), "{text}");
    }
    fake.content()
        .secrets
        .get_mut("secret/mcp/crm")
        .unwrap()
        .push(None);
    let deleted = store(Some(settings.clone()), wanted(KV2, Form::Bearer));
    assert_eq!(line(&deleted).await, Err("vault_not_found"));
    fake.content().forbidden.push("secret/".to_owned());
    let forbidden = store(Some(settings.clone()), wanted(KV2, Form::Bearer));
    assert_eq!(line(&forbidden).await, Err("vault_forbidden"));
    fake.content().role.1 = "another".to_owned();
    let stranger = store(Some(settings.clone()), wanted(KV2, Form::Bearer));
    assert_eq!(line(&stranger).await, Err("vault_login_refused"));
    private(directory.path(), "role-id", "");
    std::fs::remove_file(directory.path().join("role-id")).unwrap();
    let unarmed = store(Some(settings.clone()), wanted(KV2, Form::Bearer));
    assert_eq!(line(&unarmed).await, Err("vault_login_reference"));
    let gone = VaultSettings {
        address: "http://127.0.0.1:1".parse().unwrap(),
        login: Login::Token(reference(&private(directory.path(), "token", "root-token"))),
        ..settings
    };
    let gone = store(Some(gone), wanted(KV2, Form::Bearer));
    assert_eq!(line(&gone).await, Err("vault_unreachable"));
}

#[tokio::test]
async fn kv_1_is_not_read_as_kv_2_nor_the_other_way_round() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let mut settings = vault(&fake, directory.path());
    settings
        .mounts
        .insert("secret".to_owned(), keepgate_credential::Engine::Kv1);
    settings
        .mounts
        .insert("kv".to_owned(), keepgate_credential::Engine::Kv2);
    for text in [KV2, "vault:kv/crm#token"] {
        let store = store(Some(settings.clone()), wanted(text, Form::Bearer));
        assert_eq!(line(&store).await, Err("vault_not_found"), "{text}");
    }
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
async fn a_secret_that_changes_is_taken_over() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = impatient(vault(&fake, directory.path()));
    let store = store(Some(settings), wanted(KV2, Form::Bearer));
    assert_eq!(line(&store).await, Ok(format!("Bearer {SECRET}")));
    let source = store.of(&up()).unwrap();
    let first = source.acquire().await.unwrap().material().generation();
    moment().await;
    assert_eq!(
        source.acquire().await.unwrap().material().generation(),
        first,
        "the same secret"
    );
    fake.put("secret/mcp/crm", json!({"token": "the-next-secret"}));
    moment().await;
    assert_eq!(line(&store).await, Ok("Bearer the-next-secret".to_owned()));
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

#[tokio::test]
async fn a_lease_is_renewed_and_not_issued_anew() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = VaultSettings {
        max_age: Duration::from_millis(60),
        ..vault(&fake, directory.path())
    };
    for renewable in [true, false] {
        fake.content().renewable = renewable;
        let store = store(Some(settings.clone()), wanted(LEASED, Form::Bearer));
        let first = line(&store).await.unwrap();
        let what = if renewable {
            "POST sys/leases/renew"
        } else {
            "POST sys/leases/lookup"
        };
        let before = fake.asked(what);
        while fake.asked(what) < before + 3 {
            assert_eq!(line(&store).await, Ok(first.clone()));
            moment().await;
        }
        assert_eq!(fake.content().leases.len(), 1);
        store.close().await;
        assert!(fake.content().leases.is_empty());
    }
}

#[tokio::test]
async fn an_ended_lease_is_revoked_and_seen_to_be_gone() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let store = store(
        Some(vault(&fake, directory.path())),
        wanted(LEASED, Form::Bearer),
    );
    for scope in [Scope::All, Scope::Reference(LEASED), Scope::Server(&up())] {
        line(&store).await.unwrap();
        assert_eq!(fake.content().leases.len(), 1);
        let ended = store.end(scope).await;
        assert_eq!((ended.revoked, ended.pending.len()), (1, 0), "{scope:?}");
        assert!(fake.content().leases.is_empty());
    }
    assert_eq!(store.end(Scope::Reference("env:OTHER")).await.servers, []);

    // A vault that says yes and does nothing does not count as done.
    line(&store).await.unwrap();
    fake.content().lies = true;
    let ended = store.end(Scope::All).await;
    assert_eq!((ended.revoked, ended.pending.len()), (0, 1));
    assert_eq!(store.pending(), 1);
    fake.content().lies = false;
    while store.pending() > 0 {
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
    while store.pending() > 0 || !fake.content().leases.is_empty() {
        moment().await;
    }
}

#[tokio::test]
async fn a_revoked_token_is_replaced_and_one_that_ends_is_renewed() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = impatient(vault(&fake, directory.path()));
    let store = store(Some(settings.clone()), wanted(KV2, Form::Bearer));
    line(&store).await.unwrap();
    fake.content()
        .tokens
        .retain(|token, _| token == "root-token");
    moment().await;
    assert_eq!(line(&store).await, Ok(format!("Bearer {SECRET}")));
    assert_eq!(fake.asked("POST auth/approle/login"), 2);
    drop(store);

    fake.content().token_ttl = 1;
    let short = super::store(Some(settings), wanted(KV2, Form::Bearer));
    line(&short).await.unwrap();
    while fake.asked("POST auth/token/renew-self") < 2 {
        moment().await;
    }
    short.close().await;
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

/// `rotation_days`: what nobody changed for longer is used, and said to be overdue. The fake's secrets are of 2026-01-01.
#[tokio::test]
async fn an_old_secret_is_overdue_and_used() {
    let fake = filled().await;
    let directory = TempDir::new().unwrap();
    let settings = vault(&fake, directory.path());
    let days = |days: u64| Some(Duration::from_secs(days * 24 * 60 * 60));
    for (text, rotation, overdue) in [
        (KV2, days(1), Some(true)),
        (KV2, days(36_500), Some(false)),
        (KV2, None, None),
        // Version 1 of KV does not say when.
        ("vault:kv/crm#token", days(1), None),
    ] {
        let watched = Use {
            terms: Terms {
                rotation,
                ..Terms::default()
            },
            ..wanted(text, Form::Bearer)
        };
        let store = store(Some(settings.clone()), watched);
        assert!(line(&store).await.is_ok(), "{text}");
        let status = store.status();
        assert_eq!(status[0].overdue, overdue, "{text} {rotation:?}");
        store.close().await;
    }
}
