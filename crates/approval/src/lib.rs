//! Approvals: a call that policy wants a person to agree to waits here, frozen, until somebody decides.
//!
//! One record per request, whichever way it is decided. [`FrozenCall`] is the call as it was evaluated; its [`CallDigest`] binds
//! the decision to it, so that the very call that was shown runs, as often as the approval allows. [`Approvals`] is the one
//! code path of every transition: durable before anything acts on it, and in the audit log. The rows are in
//! [`keepgate_store::approvals`], sealed with the [`StoreKey`].

mod approvals;
mod attempt;
mod bound;
mod decide;
mod digest;
mod eligibility;
mod frozen;
mod holds;
mod key;
mod keyring;
mod link;
mod notices;
mod outcome;
mod recording;
mod records;
mod rekey;
mod settings;
mod state;
mod tend;
mod view;
mod waiters;

pub use approvals::{Approvals, Surroundings};
pub use attempt::{Attempt, LastWord};
pub use bound::CallSession;
pub use decide::{DecideError, Verdict};
pub use digest::CallDigest;
pub use eligibility::{Ineligible, Person};
pub use frozen::{Destination, Duty, FrozenCall, FrozenCaller, GrantWindow, Requirement, Risk};
pub use key::{KeyError, StoreKey};
pub use link::{ConsoleUrl, push_encoded, without_default_port};
pub use notices::{DueNotice, Notice, NoticeEvent};
pub use outcome::{Denial, HeldEnd, Use};
pub use rekey::{RekeyError, Rekeyed};
pub use settings::{HoldTimes, Settings, Unrelated};
pub use view::{DecisionView, View, ViewError};
pub use waiters::HeldPlace;
