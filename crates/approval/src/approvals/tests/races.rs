//! Races, a thousand of each: exactly one wins.

use std::sync::Arc;
use std::time::Duration;

use super::{Gate, frozen, settings};
use crate::{DecideError, Denial, FrozenCall, Settings, Verdict};

/// Rounds of each race.
const ROUNDS: u32 = 1_000;

/// A gate that is not in the way of a thousand requests.
fn gate() -> Arc<Gate> {
    let gate = Gate::new();
    gate.approvals.configure(Settings {
        pending_per_caller: 10_000,
        requests_per_minute: 100_000,
        ..settings()
    });
    Arc::new(gate)
}

fn numbered(number: u32) -> FrozenCall {
    FrozenCall {
        arguments: Some(format!("{{\"id\":{number}}}").into()),
        ..frozen()
    }
}

/// One use, twice at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_uses_one_is_made() {
    let gate = gate();
    for round in 0..ROUNDS {
        let id = gate.pending(numbered(round)).await;
        gate.decide(&id, "ann", Verdict::Approve)
            .await
            .expect("counts");
        let [one, two] = [(); 2].map(|()| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move {
                let used = gate.enter(numbered(round)).await?;
                used.call.dispatch();
                Ok::<_, Denial>(())
            })
        });
        let results = [one.await.expect("a task"), two.await.expect("a task")];
        let made = results.iter().filter(|it| it.is_ok()).count();
        assert_eq!(made, 1, "{round}: {results:?}");
        // To a use that came later it is used up already.
        let lost = results.iter().filter_map(|it| it.as_ref().err());
        for denial in lost {
            assert!(
                matches!(denial, Denial::Ended { .. } | Denial::Pending { .. }),
                "{round}: {denial:?}"
            );
        }
    }
}

/// The last moment of the wait, and a yes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_expiry_and_a_yes_one_happens() {
    let gate = gate();
    let (mut expired, mut approved) = (0, 0);
    for round in 0..ROUNDS {
        let id = gate.pending(numbered(round)).await;
        gate.around.pass(Duration::from_millis(899_999));
        let (of, its) = (Arc::clone(&gate), Arc::clone(&id));
        let decided = tokio::spawn(async move { of.decide(&its, "ann", Verdict::Approve).await });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        gate.around.pass(Duration::from_millis(1));
        gate.approvals.tend().await.expect("tended");
        match decided.await.expect("a task") {
            Ok(state) => {
                assert_eq!(state, "approved", "{round}");
                approved += 1;
                assert!(gate.enter(numbered(round)).await.is_ok(), "{round}");
            }
            Err(DecideError::Closed(_)) => {
                expired += 1;
                assert_eq!(gate.state(&id).await, "expired", "{round}");
            }
            Err(other) => panic!("{round}: {other:?}"),
        }
    }
    assert_eq!(expired + approved, ROUNDS);
}

/// A kill, and the use of an approval it covers.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_kill_and_a_use_one_happens() {
    let gate = gate();
    let (mut used, mut voided) = (0, 0);
    for round in 0..ROUNDS {
        let id = gate.pending(numbered(round)).await;
        gate.decide(&id, "ann", Verdict::Approve)
            .await
            .expect("counts");
        gate.around.pass(Duration::from_millis(1));
        let of = Arc::clone(&gate);
        let entered = tokio::spawn(async move { of.enter(numbered(round)).await });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        gate.around.kill("crm");
        gate.approvals.tend().await.expect("tended");
        match entered.await.expect("a task") {
            // It was taken before: the kill layer cuts the call itself, and nothing of it comes back.
            Ok(taken) => {
                used += 1;
                drop(taken);
                gate.approvals.tend().await.expect("tended");
                let state = gate.state(&id).await;
                assert!(
                    ["consumed", "revoked", "approved"].contains(&state),
                    "{round}: {state}"
                );
            }
            Err(_) => {
                voided += 1;
                assert_eq!(gate.state(&id).await, "revoked", "{round}");
            }
        }
        let next = gate.enter(numbered(round)).await;
        assert!(next.is_err(), "{round}: killed since");
        gate.around.pass(Duration::from_millis(1));
    }
    assert_eq!(used + voided, ROUNDS);
}

/// A use that is given back, and a no to the same call: the no stays, whichever comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_use_given_back_and_a_no_the_no_stays() {
    let gate = gate();
    let (mut denied, mut used) = (0, 0);
    for round in 0..ROUNDS {
        let id = gate.pending(numbered(round)).await;
        gate.decide(&id, "ann", Verdict::Approve)
            .await
            .expect("counts");
        let taken = gate.enter(numbered(round)).await.expect("approved");
        if round % 2 == 0 {
            taken.call.dispatch();
        }
        let of = Arc::clone(&gate);
        let back = tokio::spawn(async move {
            if round % 4 > 1 {
                tokio::task::yield_now().await;
            }
            drop(taken);
            of.approvals.tend().await.expect("tended");
        });
        let of = Arc::clone(&gate);
        let no = tokio::spawn(async move {
            match of.enter(numbered(round)).await {
                Err(Denial::Pending { id, .. }) => {
                    of.decide(&id, "bob", Verdict::Deny).await.expect("counts");
                    true
                }
                Err(Denial::Ended { .. }) => false,
                Ok(again) => {
                    again.call.dispatch();
                    false
                }
                Err(other) => panic!("{round}: {other:?}"),
            }
        });
        back.await.expect("a task");
        let is_denied = no.await.expect("a task");
        gate.approvals.tend().await.expect("tended");
        let next = gate.enter(numbered(round)).await;
        if is_denied {
            denied += 1;
            assert!(
                matches!(next, Err(Denial::Denied { .. })),
                "{round}: {next:?}"
            );
        } else {
            used += 1;
        }
    }
    assert!(denied > 0 && used > 0, "{denied} {used}");
}

/// An approval that is taken back, and the call that uses it on the way to its server.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_revocation_and_a_release_one_happens() {
    let gate = gate();
    let (mut sent, mut stopped) = (0, 0);
    for round in 0..ROUNDS {
        let id = gate.pending(numbered(round)).await;
        gate.decide(&id, "ann", Verdict::Approve)
            .await
            .expect("counts");
        let used = Arc::new(gate.enter(numbered(round)).await.expect("approved"));
        let (of, its) = (Arc::clone(&used), Arc::clone(&id));
        let released = tokio::spawn(async move { of.release().await });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        let tenant = keepgate_call::Tenant::new("a");
        let revoked = gate.approvals.revoke(&tenant, &its, "ann", "no").await;
        let released = released.await.expect("a task");
        let is_sent = used.call.is_dispatched();
        drop(used);
        gate.approvals.tend().await.expect("tended");
        let state = gate.state(&id).await;
        match (released, revoked) {
            (Ok(()), Err(DecideError::Sent)) => {
                sent += 1;
                assert!(is_sent, "{round}");
                assert_eq!(state, "consumed", "{round}");
            }
            (Err(Denial::Ended { .. }), Ok(_)) => {
                stopped += 1;
                assert!(!is_sent, "{round}");
                assert_eq!(state, "revoked", "{round}: not given back");
            }
            other => panic!("{round}: {other:?}"),
        }
    }
    assert_eq!(sent + stopped, ROUNDS);
}
