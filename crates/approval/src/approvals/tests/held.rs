//! Calls that are held: each learns what became of its request, and asks for no other by itself.

use std::{sync::Arc, time::Duration};

use keepgate_call::Tenant;
use keepgate_store::approvals::ApprovalState;

use super::{Around, Gate, call, frozen};
use crate::{Denial, Destination, FrozenCall, HeldEnd, Verdict};

impl Gate {
    /// Answer of a held call once it is woken.
    async fn woken(&self, id: &Arc<str>, frozen: FrozenCall) -> Result<crate::Use, Denial> {
        self.approvals.enter_held(&call(), frozen, id, &()).await
    }

    /// Number of requests that wait.
    async fn waiting(&self) -> u64 {
        self.approvals.counts().await.expect("counts").0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_identical_held_calls_one_is_made_and_the_others_learn_it() {
    let gate = Arc::new(Gate::new());
    let id = gate.pending(frozen()).await;
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (gate, id) = (Arc::clone(&gate), Arc::clone(&id));
            tokio::spawn(async move { gate.woken(&id, frozen()).await })
        })
        .collect();
    let mut made = Vec::new();
    for call in calls {
        match call.await.expect("a task") {
            Ok(used) => made.push(used),
            Err(Denial::Ended { end, .. }) => assert_eq!(end, HeldEnd::Used),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(made.len(), 1);
    assert_eq!(gate.waiting().await, 0, "nobody is asked again by itself");
    made.into_iter().for_each(|used| used.call.dispatch());
    // Called again, it asks again.
    assert_ne!(gate.pending(frozen()).await, id);
}

/// Something that ends a request while a call is held for it.
type Ending = fn(&Around, &mut FrozenCall);

#[tokio::test]
async fn a_held_call_learns_how_its_request_ended() {
    let endings: [(&str, bool, HeldEnd, Ending); 6] = [
        ("expired", false, HeldEnd::Expired, |around, _| {
            around.pass(Duration::from_secs(900));
        }),
        ("unused", true, HeldEnd::Expired, |around, _| {
            around.pass(Duration::from_secs(900));
        }),
        ("killed", false, HeldEnd::Withdrawn, |around, _| {
            around.kill("crm")
        }),
        ("killed", true, HeldEnd::Withdrawn, |around, _| {
            around.kill("crm")
        }),
        ("fingerprint", true, HeldEnd::Changed, |_, call| {
            call.fingerprint = Some("f2".into());
        }),
        ("destination", true, HeldEnd::Changed, |_, call| {
            call.destination = Arc::new(Destination {
                digest: "other".into(),
                ..Destination::default()
            });
        }),
    ];
    for (why, is_approved, expected, ending) in endings {
        let gate = Gate::new();
        let id = gate.pending(frozen()).await;
        if is_approved {
            gate.decide(&id, "ann", Verdict::Approve)
                .await
                .expect("counts");
        }
        let mut later = frozen();
        ending(&gate.around, &mut later);
        gate.approvals.tend().await.expect("tended");
        let woken = gate.woken(&id, later).await;
        assert!(
            matches!(woken, Err(Denial::Ended { end, .. }) if end == expected),
            "{why}: {woken:?}"
        );
        assert_eq!(gate.waiting().await, 0, "{why}");
    }
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    let still = gate.woken(&id, frozen()).await;
    assert!(matches!(still, Err(Denial::Pending { .. })), "{still:?}");
    gate.decide(&id, "ann", Verdict::Deny)
        .await
        .expect("counts");
    let denied = gate.woken(&id, frozen()).await;
    assert!(matches!(denied, Err(Denial::Denied { .. })), "{denied:?}");
}

/// A client may go at any moment, also while the store writes: no use is lost with it, and none is made.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_that_goes_takes_no_use_along() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    let tenant = Tenant::new("a");
    let mut gone = 0;
    for round in 0..200_u64 {
        let patience = Duration::from_micros(round * 10);
        let entered = tokio::time::timeout(patience, gate.enter(frozen())).await;
        gone += u32::from(entered.is_err());
        if let Ok(entered) = entered {
            drop(entered.expect("approved"));
        }
        // What was begun ends by itself, and is settled then.
        let mut state = None;
        for _ in 0..1_000 {
            gate.approvals.tend().await.expect("tended");
            let found = gate.approvals.0.store.state(&tenant, &id).await;
            state = found.expect("read");
            if state == Some(ApprovalState::Approved) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(state, Some(ApprovalState::Approved), "{round}");
    }
    assert!(gone > 10, "{gone}");
    assert!(gate.enter(frozen()).await.is_ok());
}
