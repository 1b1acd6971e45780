//! Duties in steps: asked one after the other, and met in that order.

use super::{Gate, frozen};
use crate::{DecideError, Duty, FrozenCall, Ineligible, Verdict};

fn stepped() -> FrozenCall {
    let mut call = frozen();
    let duty = |approver: &'static str, step| Duty {
        approvers: vec![approver.into()],
        quorum: 1,
        step,
    };
    call.requirement.duties = vec![duty("user:ann", 1), duty("user:bob", 2)];
    call
}

#[tokio::test]
async fn a_later_step_is_asked_after_the_one_before() {
    let gate = Gate::new();
    let id = gate.pending(stepped()).await;
    let decide = async |who| gate.decide(&id, who, Verdict::Approve).await;
    assert!(matches!(
        decide("bob").await,
        Err(DecideError::Ineligible(Ineligible::NotYet))
    ));
    assert_eq!(decide("ann").await.expect("counts"), "pending");
    assert!(matches!(decide("ann").await, Err(DecideError::Twice)));
    assert_eq!(decide("bob").await.expect("counts"), "approved");
    assert!(gate.enter(stepped()).await.is_ok());
}

#[tokio::test]
async fn a_no_needs_no_turn_and_a_step_that_falls_away_takes_the_rest_along() {
    let gate = Gate::new();
    let id = gate.pending(stepped()).await;
    let denied = gate.decide(&id, "bob", Verdict::Deny).await;
    assert_eq!(denied.expect("counts"), "denied");
    gate.around.pass(crate::Settings::default().cooldown);
    let id = gate.pending(stepped()).await;
    for (who, state) in [("ann", "pending"), ("bob", "approved")] {
        let decided = gate.decide(&id, who, Verdict::Approve).await;
        assert_eq!(decided.expect("counts"), state);
    }
    gate.around.gone.lock().expect("a lock").push("ann");
    assert_ne!(gate.pending(stepped()).await, id);
    assert_eq!(gate.state(&id).await, "revoked");
}

#[tokio::test]
async fn whoever_may_approve_no_more_decides_nothing() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    gate.around.gone.lock().expect("a lock").push("ann");
    for verdict in [Verdict::Approve, Verdict::Deny] {
        assert!(matches!(
            gate.decide(&id, "ann", verdict).await,
            Err(DecideError::Ineligible(Ineligible::Gone))
        ));
    }
    assert_eq!(gate.state(&id).await, "pending");
}
