//! The last word of policy before an approval is used.

use std::sync::Mutex;

use keepgate_call::Approved;

use super::{Gate, call, frozen};
use crate::{Attempt, CallSession, Denial, LastWord, Requirement, Verdict};

/// A policy with one answer, which notes what it was shown.
struct Policy {
    word: fn() -> LastWord,
    shown: Mutex<Vec<Approved>>,
}

impl Policy {
    fn new(word: fn() -> LastWord) -> Self {
        let shown = Mutex::default();
        Self { word, shown }
    }
}

impl Attempt for Policy {
    fn evaluate(&self, approved: &Approved) -> LastWord {
        self.shown.lock().expect("a lock").push(approved.clone());
        (self.word)()
    }

    fn session(&self) -> Option<CallSession> {
        None
    }
}

#[tokio::test]
async fn policy_has_the_last_word_and_sees_the_approval() {
    let gate = Gate::new();
    let denies = Policy::new(|| LastWord::Deny);
    let of = gate.approvals.clone();
    let enter = async |policy: &Policy| of.enter(&call(), frozen(), policy).await;
    let id = match enter(&denies).await {
        Err(Denial::Pending { id, .. }) => id,
        other => panic!("{other:?}"),
    };
    assert!(denies.shown.lock().expect("a lock").is_empty());
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    gate.around.pass(std::time::Duration::from_secs(7));
    // Denied, and the approval is there as it was.
    for _ in 0..2 {
        assert!(matches!(enter(&denies).await, Err(Denial::Policy)));
    }
    let seen = denies.shown.lock().expect("a lock")[0].clone();
    assert_eq!((seen.kind, seen.uses_left, seen.age_s), ("once", 1, 7));
    assert_eq!(*seen.groups, ["group-of-ann".into()]);
    let allows = Policy::new(|| LastWord::Allow);
    assert!(enter(&allows).await.is_ok());
}

#[tokio::test]
async fn stricter_terms_of_the_last_word_have_to_be_met() {
    let gate = Gate::new();
    let two = || {
        let mut requirement: Requirement = frozen().requirement;
        requirement.duties[0].quorum = 2;
        LastWord::Approve(Box::new(requirement))
    };
    let id = gate.pending(frozen()).await;
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    let entered = gate
        .approvals
        .enter(&call(), frozen(), &Policy::new(two))
        .await;
    let again = match entered {
        Err(Denial::Pending { id, .. }) => id,
        other => panic!("{other:?}"),
    };
    assert_ne!(again, id);
    assert_eq!(gate.state(&id).await, "revoked");
}
