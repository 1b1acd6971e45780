//! Tests of states: everything a client can do with one.

use std::sync::Arc;

use keepgate_call::{CallState, Caller, CallerKind, Proof, ServerName, Tenant};
use proptest::prelude::*;

use super::{STATE_PREFIX, opened, sealed, sealed_with};
use crate::StoreKey;

fn caller(subject: &str) -> Caller {
    Caller::new(Proof::new(Tenant::new("a"), CallerKind::Machine, subject))
}

fn server(name: &str) -> ServerName {
    ServerName::parse(name).expect("a name")
}

fn key() -> StoreKey {
    let state = tempfile::tempdir().expect("a directory");
    StoreKey::read_or_make(state.path()).expect("a key")
}

#[test]
fn a_state_opens_only_as_it_was_given() {
    let key = key();
    let (agent, crm) = (caller("agent"), server("crm"));
    let holder = (&agent, &crm);
    let given = CallState {
        approval: Arc::from("ap_0123456789abcdef"),
        digest: [7; 32],
        expires_ms: 60_000,
        round: 3,
        began_ms: 5,
    };
    let text = sealed(&key, holder, &given).expect("a state");
    assert_eq!(opened(&key, holder, &text), Some(given));
    // Another caller, client, issuer, tenant or server; another gateway.
    let proof = || Proof::new(Tenant::new("a"), CallerKind::Machine, "agent");
    let mut client = proof();
    client.client = Some("other".into());
    let client = Caller::new(client);
    let mut issuer = proof();
    issuer.issuer = Some("https://idp.example".into());
    let issuer = Caller::new(issuer);
    let tenant = Caller::new(Proof::new(Tenant::new("b"), CallerKind::Machine, "agent"));
    for other in [caller("agent2"), client, issuer, tenant] {
        assert_eq!(opened(&key, (&other, &crm), &text), None);
    }
    assert_eq!(opened(&key, (&agent, &server("crm2")), &text), None);
    assert_eq!(opened(&self::key(), holder, &text), None);
    // Every byte of it, every length, and what comes after.
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("UTF-8");
        assert_eq!(opened(&key, holder, &changed), None, "{at}");
        assert_eq!(opened(&key, holder, &text[..at]), None, "{at}");
    }
    for more in ["A", "=", "\n", "AAAA"] {
        let longer = format!("{text}{more}");
        assert_eq!(opened(&key, holder, &longer), None, "{more}");
    }
}

#[test]
fn a_state_names_its_key() {
    let (key, other) = (key(), key());
    let (agent, crm) = (caller("agent"), server("crm"));
    let given = CallState {
        approval: Arc::from("ap_0123456789abcdef"),
        digest: [7; 32],
        expires_ms: 60_000,
        round: 3,
        began_ms: 5,
    };
    let text = sealed(&key, (&agent, &crm), &given).expect("a state");
    assert!(sealed_with(&key, &text).is_some());
    assert_eq!(sealed_with(&other, &text), None);
    // Of this key, and yet none that opens.
    let named = format!("{STATE_PREFIX}{}.AAAA", key.id());
    assert_eq!(sealed_with(&key, &named), Some("AAAA"));
    assert_eq!(opened(&key, (&agent, &crm), &named), None);
    for foreign in [STATE_PREFIX, "keepgate.1.AAAA", key.id(), ""] {
        assert_eq!(sealed_with(&key, foreign), None, "{foreign}");
    }
}

proptest! {
    #[test]
    fn nothing_else_is_a_state(text in ".{0,300}") {
        let (key, agent, crm) = (key(), caller("agent"), server("crm"));
        let named = format!("{STATE_PREFIX}{}.{text}", key.id());
        for text in [text.clone(), format!("{STATE_PREFIX}{text}"), named] {
            prop_assert_eq!(opened(&key, (&agent, &crm), &text), None);
        }
    }
}
