//! The operators' listener: health, metrics, inventory. Cannot reach the data path.
//!
//! What it shows comes from a [`Source`] the binary supplies, and what it does it does to the kill switch; nothing here
//! knows the gateway, so nothing here can hold a call up, and a full or failing audit log does not keep an operator out.

mod acts;
mod approvals;
mod kills;
mod operators;
mod page;
mod refused;
mod route;
mod service;
mod source;
mod status;
mod token;

pub use acts::TestedNotification;
pub use approvals::{ApprovalListing, ApprovalPage, Decision, Revocation};
pub use kills::{
    DrillCut, DrillReport, KillClearing, KillDrill, KillListing, KillOutcome, KillPage, KillPlaces,
    KillRemains, KillSetting, KillView, Kills,
};
pub use operators::{
    ACCOUNT, Entry, Operator, OperatorError, Operators, Permission, Role, TokenDigest, add, begin,
    read, revoke,
};
pub use refused::Refused;
pub use service::{Admin, BodyLimits, PeerConnection, Response, complete, read_body};
pub use source::{
    Known, Part, Process, Server, Session, Source, TestNotification, TestingNotification,
};
pub use status::{BundleStatus, InForce, Plugin, PolicyStatus};
pub use token::{Token, TokenError};
