//! Grants for a session, and for a window.

use std::time::Duration;

use keepgate_call::{Approved, Caller};
use tokio_util::sync::CancellationToken;

use super::{Gate, call, frozen};
use crate::{
    Attempt, CallSession, DecideError, Denial, FrozenCall, GrantWindow, HeldEnd, LastWord, Use,
    Verdict,
};

/// A call of a session.
struct Of(CallSession);

impl Attempt for Of {
    fn evaluate(&self, _approved: &Approved) -> LastWord {
        LastWord::Allow
    }

    fn session(&self) -> Option<CallSession> {
        Some(self.0.clone())
    }
}

fn opened(id: &str) -> (CancellationToken, Of) {
    let ended = CancellationToken::new();
    let session = CallSession::Opened(ended.clone(), id.into());
    (ended, Of(session))
}

fn for_the_session() -> FrozenCall {
    let mut call = frozen();
    call.requirement.is_session_bound = true;
    call.requirement.uses = 1_000;
    call
}

async fn enter(gate: &Gate, call_of: FrozenCall, of: &Of) -> Result<Use, Denial> {
    gate.approvals.enter(&call(), call_of, of).await
}

fn pending_id(entered: Result<Use, Denial>) -> std::sync::Arc<str> {
    match entered {
        Err(Denial::Pending { id, .. }) => id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_grant_for_a_session_is_of_that_one_and_ends_with_it() {
    let gate = Gate::new();
    let ((ended, one), (_open, other)) = (opened("s1"), opened("s2"));
    let id = pending_id(enter(&gate, for_the_session(), &one).await);
    let decided = gate.decide(&id, "ann", Verdict::Approve).await;
    assert_eq!(decided.expect("counts"), "approved");
    // As often as it likes, and no other session.
    for _ in 0..3 {
        let used = enter(&gate, for_the_session(), &one)
            .await
            .expect("approved");
        assert_eq!(used.approved().kind, "session");
        used.call.dispatch();
    }
    let theirs = pending_id(enter(&gate, for_the_session(), &other).await);
    assert_ne!(theirs, id);
    gate.approvals.tend().await.expect("tended");
    assert_eq!(gate.state(&id).await, "approved");
    ended.cancel();
    gate.approvals.tend().await.expect("tended");
    assert_eq!(gate.state(&id).await, "revoked");
    assert_eq!(gate.state(&theirs).await, "pending");
    let late = enter(&gate, for_the_session(), &one).await;
    assert!(matches!(late, Err(Denial::Unavailable(_))), "{late:?}");
    assert!(
        gate.records()
            .contains(&"approval.ended session_ended".to_owned())
    );
}

#[tokio::test]
async fn a_caller_without_sessions_has_one_as_long_as_it_calls() {
    let gate = Gate::new();
    let idle = Duration::from_secs(60);
    let of = Of(CallSession::Caller(
        Caller::anonymous().session_key().clone(),
        idle,
    ));
    let id = pending_id(enter(&gate, for_the_session(), &of).await);
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    for _ in 0..3 {
        gate.around.pass(Duration::from_secs(50));
        gate.approvals.note_call(|| of.0.clone());
        gate.approvals.tend().await.expect("tended");
    }
    assert!(enter(&gate, for_the_session(), &of).await.is_ok());
    gate.around.pass(Duration::from_secs(60));
    let next = pending_id(enter(&gate, for_the_session(), &of).await);
    assert_ne!(next, id, "its session is over");
    gate.approvals.tend().await.expect("tended");
    assert_eq!(gate.state(&id).await, "revoked");
    assert_eq!(gate.state(&next).await, "pending");
}

#[tokio::test]
async fn a_restart_ends_what_is_bound_to_a_session() {
    let gate = Gate::new();
    let (_open, of) = opened("s1");
    let id = pending_id(enter(&gate, for_the_session(), &of).await);
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    let next = gate.restarted();
    next.tend().await.expect("tended");
    assert_eq!(gate.state(&id).await, "revoked");
}

#[tokio::test]
async fn a_grant_that_policy_binds_to_a_session_later_is_taken_back() {
    let gate = Gate::new();
    let (_open, of) = opened("s1");
    let id = pending_id(enter(&gate, frozen(), &of).await);
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    let next = pending_id(enter(&gate, for_the_session(), &of).await);
    assert_ne!(next, id);
    assert_eq!(gate.state(&id).await, "revoked");
}

/// A window from so many seconds from now on, to so many.
fn in_window(gate: &Gate, from_s: u64, until_s: u64) -> FrozenCall {
    let now_s = gate.approvals.now_ms() / 1000;
    let mut call = frozen();
    call.requirement.valid_for_s = 30 * 24 * 3600;
    call.requirement.window = Some(GrantWindow {
        not_before_s: now_s + from_s,
        until_s: now_s + until_s,
        text: "at night".into(),
    });
    call
}

#[tokio::test]
async fn a_grant_for_a_window_is_used_in_it_alone() {
    let gate = Gate::new();
    let call = in_window(&gate, 3_600, 7_200);
    let id = gate.pending(call.clone()).await;
    gate.decide(&id, "ann", Verdict::Approve)
        .await
        .expect("counts");
    match gate.enter(call.clone()).await {
        Err(Denial::NotYet { begins_in, .. }) => assert_eq!(begins_in.as_secs(), 3_600),
        other => panic!("{other:?}"),
    }
    let held = gate
        .approvals
        .enter_held(&super::call(), call.clone(), &id, &())
        .await;
    assert!(matches!(held, Err(Denial::NotYet { .. })), "{held:?}");
    gate.around.pass(Duration::from_secs(3_600));
    drop(gate.enter(call.clone()).await.expect("in its window"));
    gate.approvals.tend().await.expect("tended");
    gate.around.pass(Duration::from_secs(3_600));
    let held = gate
        .approvals
        .enter_held(&super::call(), call, &id, &())
        .await;
    let is_over = matches!(
        held,
        Err(Denial::Ended {
            end: HeldEnd::Expired | HeldEnd::Changed,
            ..
        })
    );
    assert!(is_over, "{held:?}");
    gate.approvals.tend().await.expect("tended");
    assert_ne!(gate.state(&id).await, "approved");
}

#[tokio::test]
async fn a_yes_that_could_not_be_used_does_not_count() {
    let gate = Gate::new();
    let mut short = in_window(&gate, 3_600, 7_200);
    short.requirement.valid_for_s = 900;
    let id = gate.pending(short).await;
    let early = gate.decide(&id, "ann", Verdict::Approve).await;
    assert!(matches!(early, Err(DecideError::TooEarly)), "{early:?}");
    let mut other = in_window(&gate, 0, 60);
    other.arguments = None;
    let id = gate.pending(other).await;
    gate.around.pass(Duration::from_secs(60));
    let late = gate.decide(&id, "ann", Verdict::Approve).await;
    assert!(matches!(late, Err(DecideError::WindowOver)), "{late:?}");
    // A no is a no.
    assert_eq!(
        gate.decide(&id, "ann", Verdict::Deny)
            .await
            .expect("counts"),
        "denied"
    );
}
