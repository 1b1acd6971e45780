//! The last moment before a call leaves: what ends its approval until then stops it.

use std::time::Duration;

use super::{Gate, frozen};
use crate::{DecideError, Denial, HeldEnd, Verdict};

/// Event between the use and the moment its call leaves.
type Meanwhile = fn(&Gate);

#[tokio::test]
async fn a_call_leaves_only_while_its_approval_holds() {
    let nothing: Meanwhile = |_| {};
    for (meanwhile, end) in [
        (nothing, None),
        (|gate| gate.around.pass(Duration::from_secs(899)), None),
        (
            |gate| gate.around.pass(Duration::from_secs(900)),
            Some(HeldEnd::Expired),
        ),
        (|gate| gate.around.kill("crm"), Some(HeldEnd::Withdrawn)),
    ] {
        let gate = Gate::new();
        let id = gate.pending(frozen()).await;
        gate.decide(&id, "ann", Verdict::Approve)
            .await
            .expect("counts");
        let used = gate.enter(frozen()).await.expect("approved");
        gate.around.pass(Duration::ZERO);
        meanwhile(&gate);
        let found = match used.release().await {
            Ok(()) => None,
            Err(Denial::Ended { end, .. }) => Some(end),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(found, end);
        assert_eq!(used.call.is_dispatched(), end.is_none());
    }
}

/// Cut between the leave and the first byte, a call counts as made: an operator may have been answered that it was sent.
#[tokio::test]
async fn a_use_that_was_let_go_never_comes_back() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    let used = gate.enter(frozen()).await.expect("approved");
    let (tenant, now) = (&used.tenant, gate.approvals.now_ms());
    let sent = gate.approvals.0.store.send(tenant, &used.id, now).await;
    assert!(sent.expect("written"));
    let again = gate.approvals.0.store.send(tenant, &used.id, now).await;
    assert!(!again.expect("written"), "once");
    let revoked = gate.approvals.revoke(tenant, &id, "ann", "no").await;
    assert!(matches!(revoked, Err(DecideError::Sent)), "{revoked:?}");
    drop(used);
    gate.approvals.tend().await.expect("tended");
    assert_eq!(gate.state(&id).await, "consumed");
    assert_ne!(gate.pending(frozen()).await, id);
}
