//! The use of an approval on its way with its call: from the gate that took it to the last moment before the call leaves.

use std::sync::{Arc, OnceLock};

use keepgate_approval::{Denial, Use};
use keepgate_call::{Code, Refusal};
use keepgate_policy::Decision;
use keepgate_transport::{Clearance, Cleared};

use super::{ended, refused};

/// A use, and the refusal of its call once the call may not be sent. Held to the end of the call: dropped, the use is settled.
#[derive(Debug)]
pub struct Release {
    used: Use,
    decision: Decision,
    refusal: OnceLock<Refusal>,
}

impl Release {
    pub(super) fn new(used: Use, decision: &Decision) -> Arc<Self> {
        Arc::new(Self {
            used,
            decision: decision.clone(),
            refusal: OnceLock::new(),
        })
    }

    /// The refusal of a call that was stopped, whatever its server's side made of that.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.get()
    }

    fn stopped(&self, denial: Denial) -> Refusal {
        match denial {
            Denial::Ended { id, end } => ended(&id, end, &self.decision),
            Denial::Unavailable(cause) => {
                let mut refusal = refused(Code::ApprovalUnavailable, &self.decision);
                refusal.source = Some(cause.into());
                refusal
            }
            // A use is there, so nothing is asked for and no limit met.
            Denial::Pending { .. }
            | Denial::Denied { .. }
            | Denial::NotYet { .. }
            | Denial::Policy
            | Denial::Limit(..) => refused(Code::ApprovalUnavailable, &self.decision),
        }
    }
}

impl Clearance for Release {
    fn ask(&self) -> Cleared<'_> {
        Box::pin(async {
            let released = self.used.release().await;
            // Asked once for each message, and a call is one.
            released
                .map_err(|denial| self.refusal.set(self.stopped(denial)))
                .is_ok()
        })
    }
}
