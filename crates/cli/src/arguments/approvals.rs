//! The command line of approvals and grants.

use clap::{Args, Subcommand};

use super::Api;

/// Commands over calls that wait for a person.
#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    /// List calls that wait for a decision
    List(ListApprovals),
    /// Show one, whole: what would happen, for whom, and who may decide
    Show(OneApproval),
    /// Approve a call, as `show` shows it
    Approve(Verdict),
    /// Deny a call
    Deny(Verdict),
    /// Print calls as they come to wait, until interrupted
    Watch(WatchApprovals),
    /// Send a test message to a target of notifications
    NotifyTest(NotifyTest),
}

/// Commands over approvals that may be used.
#[derive(Debug, Subcommand)]
pub(crate) enum Grants {
    /// List approvals that may be used
    List(WatchApprovals),
    /// Take an approval back, or end the wait of a call
    Revoke(RevokeGrant),
}

/// Arguments of `approvals list`.
#[derive(Debug, Args)]
pub(crate) struct ListApprovals {
    /// Also those that are decided or over
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) place: Where,
}

/// Arguments of `approvals watch` and `grants list`.
#[derive(Debug, Args)]
pub(crate) struct WatchApprovals {
    #[command(flatten)]
    pub(crate) place: Where,
}

/// Arguments of `approvals notify-test`.
#[derive(Debug, Args)]
pub(crate) struct NotifyTest {
    /// Its name in `approvals.notify`
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// One approval.
#[derive(Debug, Args)]
pub(crate) struct OneApproval {
    /// Its id, as the list and the agent's answer show it
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) place: Where,
}

/// A decision.
#[derive(Debug, Args)]
pub(crate) struct Verdict {
    /// Its id, as the list and the agent's answer show it
    pub(crate) id: String,
    /// Digest that `show` printed as `shown`, at least 12 letters of it: the decision is over that and nothing else
    #[arg(long, value_name = "DIGEST")]
    pub(crate) shown: String,
    /// Reason; for operators and the record, never shown to agents
    #[arg(long, value_name = "WHY")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) place: Where,
}

/// Arguments of `grants revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeGrant {
    /// Its id
    pub(crate) id: String,
    /// Reason
    #[arg(long, value_name = "WHY")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) place: Where,
}

/// Whose approvals, and who asks.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The tenant
    #[arg(long, value_name = "TENANT", default_value = "default")]
    pub(crate) tenant: String,
    #[command(flatten)]
    pub(crate) api: Api,
}
