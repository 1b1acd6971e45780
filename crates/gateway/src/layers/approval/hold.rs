//! Calls that are held until somebody has decided. A held call has nothing but itself: no worker, no lock, no connection to its
//! server.

use std::{sync::Arc, time::Duration};

use keepgate_approval::Approvals;
use keepgate_call::{Call, Code, Refusal};

use crate::{edge::room::Load, wall_clock::WallClock};

/// Interval of looks whether a held call is still wanted.
const LOOK: Duration = Duration::from_millis(250);

/// Waits until somebody has decided, the time is over, the gateway ends, or nobody wants the call any more.
pub(super) async fn hold(
    approvals: &Approvals,
    load: &Load,
    clock: &WallClock,
    (call, id): (&Call, &Arc<str>),
    time: Duration,
) {
    let end = tokio::time::Instant::now() + time;
    loop {
        let transition = approvals.transition(&call.caller.tenant, id);
        let mut changed = std::pin::pin!(transition.notified());
        changed.as_mut().enable();
        // It may have happened before this waited for it.
        if !approvals.is_pending(&call.caller.tenant, id).await {
            return;
        }
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep_until(end) => return,
            () = load.drained() => return,
            () = unwanted(call, clock) => return,
        }
    }
}

/// Waits until a held call is not wanted any more.
async fn unwanted(call: &Call, clock: &WallClock) {
    while !call.is_left() && !call.wait.is_declined() && still_wanted(call, clock).is_ok() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a call that was held may go on: its client has not cancelled it, and its credential has not ended.
pub(super) fn still_wanted(call: &Call, clock: &WallClock) -> Result<(), Refusal> {
    if call.carried.is_cancelled() {
        return Err(Refusal::new(Code::Cancelled));
    }
    match call.caller.expires {
        Some(end) if end <= clock.now() => Err(Refusal::new(Code::AuthnInvalid)),
        Some(_) | None => Ok(()),
    }
}
