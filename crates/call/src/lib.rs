//! The vocabulary of a call: who asks, what for, what was decided and what came back.
//!
//! Data only. Nothing here decides, waits or does IO; the layers in `gateway` carry these values and the crates of the
//! floor above produce them. The crate stays small on purpose: what only one crate needs lives in that crate.

mod approved;
mod beside;
mod call;
mod caller;
mod carried;
mod chain;
mod credential;
mod handover;
mod id;
mod principal;
mod refusal;
mod reply;
mod target;
pub mod trace;
mod wait;

pub use approved::Approved;
pub use beside::{Beside, BesideNote};
pub use call::{Ask, Call, Origin, Passed};
pub use caller::{Caller, CallerKind, Proof};
pub use carried::{Carried, Changed, Detail};
pub use chain::chain;
pub use credential::{CredentialNote, Lease};
pub use handover::Handover;
pub use id::{DecisionId, UpstreamId};
pub use principal::{Principal, SessionKey};
pub use refusal::{ApprovalNote, Code, Fault, Limit, Refusal, WaitAnswer};
pub use reply::{Answer, Cut, Events, Follow, Item, Reply, Step};
pub use target::{EndpointPath, HttpTransport, ServerName, Tenant};
pub use trace::Trace;
pub use wait::{BroughtState, CallState, HalfOpen, Wait};
