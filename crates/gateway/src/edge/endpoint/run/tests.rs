//! Calls that end in a panic.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use keepgate_call::{
    Ask, Call, Caller, CallerKind, Code, DecisionId, Proof, ServerName, Tenant, UpstreamId,
};
use keepgate_mcp::revision::Revision;
use tokio_util::task::TaskTracker;

use super::{Detached, Run, Stage};

fn call() -> Arc<Call> {
    let proof = Proof::new(Tenant::new("a"), CallerKind::Machine, "agent");
    Arc::new(Call::new(
        DecisionId::new(0, 0),
        UpstreamId::new(1),
        SystemTime::now(),
        Arc::new(Caller::new(proof)),
        ServerName::parse("crm").expect("a name"),
        Revision::LATEST_STATEFUL,
        Ask::Listen,
    ))
}

#[tokio::test]
async fn a_panic_is_answered_with_whether_the_call_was_sent() {
    for is_detached in [false, true] {
        for is_sent in [false, true] {
            let (call, tasks) = (call(), TaskTracker::new());
            let polls = Arc::new(AtomicUsize::new(0));
            let (owed, seen) = (Arc::clone(&call), Arc::clone(&polls));
            let running = Box::pin(poll_fn(move |context| {
                if seen.fetch_add(1, Ordering::Relaxed) == 0 {
                    context.waker().wake_by_ref();
                    return std::task::Poll::Pending;
                }
                if is_sent {
                    owed.dispatch();
                }
                panic!("on purpose")
            }));
            let run = if is_detached {
                let detached = Detached::new(&call, running, &tasks);
                Run {
                    call: Arc::clone(&call),
                    stage: Stage::Detached(detached),
                }
            } else {
                Run::tied(&call, running)
            };
            let refusal = run.await.expect_err("a refusal");
            let what = format!("{is_detached} {is_sent}");
            assert_eq!(refusal.code, Code::Internal, "{what}");
            assert_eq!(refusal.dispatched, is_sent, "{what}");
            assert!(refusal.decision.is_some(), "{what}");
            // It does not go on, in the background either.
            tasks.close();
            tasks.wait().await;
            assert_eq!(polls.load(Ordering::Relaxed), 2, "{what}");
            assert!(!call.is_left(), "{what}");
        }
    }
}
