//! The command line of the kill switch and of those who work it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use keepgate_admin::Role;

use super::{State, lifetime};

/// What can be done with the kill switch.
#[derive(Debug, Subcommand)]
pub(crate) enum Kill {
    /// Cut something off: new calls are refused, running ones are cut
    ///
    /// In force when the command returns. A gateway that cannot be reached finds the kill in its state directory: one that
    /// runs within a second, one that starts before it takes calls.
    Set(SetKill),
    /// End a kill; what was cut stays cut
    Clear(ClearKill),
    /// List what is cut off
    List(ListKills),
    /// Tell what a kill would cut and write it down; changes nothing
    Drill(DrillKill),
}

/// What is meant.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// everything, tenant, server, tool, caller, session or credential
    pub(crate) scope: String,
    /// Which: a tenant, a server, SERVER/TOOL, a subject or client:ID, a session's public id or grant:ID, a credential's
    /// reference or key:ID; none for everything
    pub(crate) target: Option<String>,
    /// Only calls of this tenant
    #[arg(long, value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
}

/// What to cut off.
#[derive(Debug, Args)]
pub(crate) struct SetKill {
    #[command(flatten)]
    pub(crate) what: What,
    /// Why; for operators and the record, never shown to clients
    #[arg(long, value_name = "WHY")]
    pub(crate) reason: String,
    /// When it ends by itself, like 30m or 12h [default: when it is cleared]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub(crate) expires: Option<Duration>,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// What to end.
#[derive(Debug, Args)]
pub(crate) struct ClearKill {
    /// The kill's id, as the list and refusals show it
    pub(crate) id: String,
    /// Why
    #[arg(long, value_name = "WHY")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct ListKills {
    /// Past kills too
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// What to try.
#[derive(Debug, Args)]
pub(crate) struct DrillKill {
    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) api: Api,
}

/// Which gateway, and who asks.
#[derive(Debug, Clone, Args)]
pub(crate) struct Api {
    /// The operators' listener [default: KEEPGATE_ADMIN_URL, or admin.listen of the configuration]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// File with the operator's token [default: the token that KEEPGATE_ADMIN_TOKEN holds, or the admin token of the state
    /// directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// State directory of the gateway on this machine [default: that of the configuration, unless a URL is named]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// What can be done with operators.
#[derive(Debug, Subcommand)]
pub(crate) enum Operators {
    /// Add an operator and print the token, this once
    Add {
        /// The name, as records will have it
        name: String,
        /// admin, security_responder, sre, approver or auditor; may be given several times
        #[arg(long = "role", value_name = "ROLE", required = true, value_parser = role)]
        roles: Vec<Role>,
        /// A group that rules name as approvers; may be given several times
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// Begin a new file in place of one that is gone: no earlier operator is known from then on
        #[arg(long)]
        new_file: bool,
        #[command(flatten)]
        state: State,
    },
    /// List the operators, revoked ones too
    List {
        #[command(flatten)]
        state: State,
    },
    /// End an operator's token; a running gateway refuses it within seconds
    Revoke {
        /// The operator's name
        name: String,
        #[command(flatten)]
        state: State,
    },
}

/// A role by its word.
fn role(word: &str) -> Result<Role, &'static str> {
    Role::parse(word).ok_or("there are admin, security_responder, sre, approver and auditor")
}
