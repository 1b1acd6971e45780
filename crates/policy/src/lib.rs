//! Rego policies: loading, judging, testing. The only crate that knows regorus.
//!
//! Authors write partial sets in `package mcp.authz` (`allow`, `deny`, `approve`, `visible`, and one for each obligation); a library embedded in
//! this crate assembles them into one decision, so that the default cannot be forgotten: nothing matched is a
//! refusal, and so is every error, timeout, panic and answer of an unknown shape.
//!
//! [`Policy`] holds the policies in force; [`Policy::judge`] answers one call and [`Policy::visible`] one page of a
//! list. Both are synchronous, bounded in time, and never panic. What a rule sees is built from [`Facts`] and is
//! described by `policies/schema/input.schema.json`.

mod answer;
pub mod bundle;
pub mod coverage;
mod decision;
mod engine;
mod event;
mod explain;
mod facts;
mod functions;
mod input;
mod json;
mod layer;
pub mod lint;
mod load;
mod log_rules;
pub mod looks;
mod mask;
pub mod matrix;
mod method;
mod obligations;
mod policy;
pub mod probe;
mod problem;
mod query;
mod recorded;
pub mod replay;
pub mod runner;
pub mod schema;
mod settings;
mod shadow;
mod shadow_mode;
mod sources;
mod window;

pub use decision::{Approval, ApprovalDuty, Decision, Effect, NoWindow, Reason, Risk, Visible};
pub use event::{EventWriter, Judged, Labels, TraceIds, Written};
pub use explain::{
    ExplainError, Explanation, FailedAt, InvalidInput, LayerReport, Looked, Outcome, RuleReport,
};
pub use facts::{
    ApprovalFacts, CallerFacts, CallerFields, ClientFacts, ClientFields, CompletionKind, Counts,
    Facts, FactsError, HistoryFacts, Item, Phase, RequestFacts, ResourceFacts, ResponseFacts,
    ServerFacts, ServerFields, SessionFacts, Subject, ToolFacts, ToolFields,
};
pub use functions::SQL_DIALECTS;
pub use json::{NumberFault, number_fault};
pub use mask::is_secret;
pub use method::is_judged;
pub use obligations::{
    AuditLevel, LimitBy, Obligations, PatternClass, RateLimit, RecordCap, Redact, Redaction,
};
pub use policy::{Generation, Kept, Observer, Policy};
pub use problem::{Excerpt, LoadErrors, Problem};
pub use query::QueryError;
pub use recorded::Recorded;
pub use settings::Settings;
pub use shadow_mode::{Beside, OtherList, Shadow, Would};
pub use sources::{Source, Sources};
pub use window::Window;

/// The decision log's file in the state directory.
pub const DECISION_FILE: &str = "decisions.jsonl";
