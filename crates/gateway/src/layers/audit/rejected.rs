//! Records of what is rejected by the endpoint itself, before any layer has it.

use std::{sync::Arc, time::Instant};

use keepgate_call::{Call, Refusal};

use super::{Guard, Refusals};

/// Records the rejection of a call as a layer would. Returns the refusal with the id its record is found by.
pub(crate) async fn rejected(
    refusals: &Arc<Refusals>,
    call: &Arc<Call>,
    refusal: Refusal,
) -> Refusal {
    let mut guard = Guard {
        refusals: Arc::clone(refusals),
        call: Arc::clone(call),
        began: Instant::now(),
        open: true,
    };
    let (refusal, written) = guard.refused(refusal);
    if let Some(written) = written {
        // The refusal stands whether or not its record can be written; nothing was let through.
        let _refused_anyway = written.await;
    }
    refusal
}
