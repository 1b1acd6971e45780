//! Grants that begin later, and those that are bound to a session.

use super::{CAPS, TERMS, decision, row, store, tenant};
use crate::approvals::{ApprovalRow, ApprovalState, CallKey, GrantSession, Insertion};

const ONE: GrantSession = [1; 16];
const OTHER: GrantSession = [2; 16];

fn bound(number: u8, session: Option<GrantSession>) -> ApprovalRow {
    let mut row = row(number);
    row.digest = [1; 32];
    row.session = session;
    row.uses_left = 9;
    row
}

#[tokio::test]
async fn a_grant_of_one_session_is_nothing_to_another() {
    let (_directory, store) = store(&[bound(1, Some(ONE))]).await;
    let found = async |session| {
        let key = CallKey {
            digest: [1; 32],
            session,
        };
        let found = store.find(&tenant(), &key, 1_200).await.expect("read");
        found.map(|(row, _)| row.id.to_string())
    };
    assert_eq!(found(Some(ONE)).await.as_deref(), Some("ap_1"));
    assert_eq!(found(Some(OTHER)).await, None);
    assert_eq!(found(None).await, None);
    // The same call of another session is another request; of the same, the same.
    let again = store.insert(bound(2, Some(ONE)), &CAPS).await;
    assert_eq!(again.expect("joined"), Insertion::Joined("ap_1".into()));
    let other = store.insert(bound(3, Some(OTHER)), &CAPS).await;
    assert_eq!(other.expect("inserted"), Insertion::Inserted);
    let yes = decision("ann", true, 1_100);
    let decided = store.decide(&tenant(), "ap_1", yes, &TERMS, |_| true).await;
    decided.expect("counted");
    let taken = async |use_id, session| {
        let use_id = (use_id, "d");
        let taken = store
            .consume(&tenant(), "ap_1", use_id, session, 1_200)
            .await;
        taken.expect("asked").is_some()
    };
    assert!(!taken("au_1", Some(OTHER)).await);
    assert!(!taken("au_2", None).await);
    assert!(taken("au_3", Some(ONE)).await);
    let mut bound = store.bound(&tenant(), 10).await.expect("read");
    bound.sort();
    assert_eq!(bound, [("ap_1".into(), ONE), ("ap_3".into(), OTHER)]);
}

#[tokio::test]
async fn a_no_is_for_the_same_call_of_every_session() {
    let (_directory, store) = store(&[bound(1, Some(ONE)), bound(2, Some(OTHER))]).await;
    for (id, approves, at) in [("ap_1", true, 1_100), ("ap_2", false, 1_200)] {
        let decided = decision("ann", approves, at);
        let decided = store.decide(&tenant(), id, decided, &TERMS, |_| true).await;
        decided.expect("counted");
    }
    let state = store.state(&tenant(), "ap_1").await.expect("read");
    assert_eq!(state, Some(ApprovalState::Revoked));
    for session in [Some(ONE), Some(OTHER), None] {
        let key = CallKey {
            digest: [1; 32],
            session,
        };
        let found = store.find(&tenant(), &key, 1_300).await.expect("read");
        assert_eq!(&*found.expect("denied").0.id, "ap_2");
    }
}

#[tokio::test]
async fn a_grant_is_not_used_before_its_window_begins() {
    let mut later = bound(1, None);
    later.not_before_ms = Some(1_500);
    let (_directory, store) = store(&[later]).await;
    let yes = decision("ann", true, 1_100);
    let decided = store.decide(&tenant(), "ap_1", yes, &TERMS, |_| true).await;
    decided.expect("counted");
    for (at, is_taken) in [(1_499, false), (1_500, true), (2_099, true), (2_100, false)] {
        let use_id = format!("au_{at}");
        let taken = store
            .consume(&tenant(), "ap_1", (&use_id, "d"), None, at)
            .await;
        assert_eq!(taken.expect("asked").is_some(), is_taken, "{at}");
    }
}
