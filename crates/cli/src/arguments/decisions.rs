//! The command line of what works on recorded decisions.

use std::path::PathBuf;

use clap::Args;

/// Where recorded decisions are.
#[derive(Debug, Args)]
pub(crate) struct From {
    /// File with recorded decisions, one a line [default: decisions.jsonl in the state directory, and those put aside]
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// State directory [default: that of the configuration]
    #[arg(long = "state", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// What is judged.
#[derive(Debug, Args)]
pub(crate) struct EvalPolicy {
    /// File with the input as rules see it, `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Directory with policies, or a bundle; may be given several times [default: those of the configuration]
    #[arg(long = "dir", value_name = "DIR")]
    pub(crate) directories: Vec<PathBuf>,
    /// What to ask, like data.mcp.authz.deny [default: the decision]
    pub(crate) query: Option<String>,
}

/// What is explained.
#[derive(Debug, Args)]
pub(crate) struct ExplainPolicy {
    /// Id of a recorded decision
    #[arg(
        value_name = "DECISION",
        required_unless_present = "input",
        conflicts_with = "input"
    )]
    pub(crate) decision: Option<String>,
    /// File with the input as rules see it, `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) from: From,
    /// Directory with policies, or a bundle; may be given several times [default: those of the configuration]
    #[arg(long = "dir", value_name = "DIR")]
    pub(crate) directories: Vec<PathBuf>,
    /// Tell of every rule, also of those that have nothing to do with how it came out
    #[arg(long)]
    pub(crate) all: bool,
}

/// What is taken.
#[derive(Debug, Args)]
pub(crate) struct RecordPolicy {
    #[command(flatten)]
    pub(crate) from: From,
    /// Only calls of this tool, like crm.search_cases
    #[arg(long, value_name = "TOOL")]
    pub(crate) tool: Option<String>,
    /// Only calls of this caller
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) caller: Option<String>,
    /// Only decisions since then: a time like 2026-11-20T08:00:00Z, or how long ago, like 12h
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// File to write to [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// What is judged again, by what.
#[derive(Debug, Args)]
pub(crate) struct ReplayPolicy {
    #[command(flatten)]
    pub(crate) from: From,
    /// Directories with the candidate policies, or a bundle
    #[arg(value_name = "DIR|BUNDLE", required = true)]
    pub(crate) candidate: Vec<PathBuf>,
}
