//! The kinds of traffic the table has a column for.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// One column of the table: a revision, a kind of result and a number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Workload {
    /// 2025-11-25, a session per connection, 250 B JSON results, 64 connections.
    Small,
    /// 2026-07-28, no session, 250 B JSON results, 16 connections.
    Stateless,
    /// 2025-11-25, 64 KiB results, 16 connections.
    Large,
    /// 2025-11-25, each result as an event stream of one event, 16 connections.
    Stream,
    /// As `Small` with one connection: what the added latency is read from.
    Single,
}

impl Workload {
    /// Every workload, in the order of the table's columns.
    pub(crate) const ALL: [Self; 5] = [
        Self::Small,
        Self::Stateless,
        Self::Large,
        Self::Stream,
        Self::Single,
    ];

    /// The workloads whose CPU per call the table shows; the other one is for latency.
    pub(crate) const COSTED: [Self; 4] = [Self::Small, Self::Stateless, Self::Large, Self::Stream];

    /// The column's heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Small => "250 B JSON, 64 conns",
            Self::Stateless => "stateless 2026-07-28, 16 conns",
            Self::Large => "64 KiB result, 16 conns",
            Self::Stream => "one-event SSE, 16 conns",
            Self::Single => "250 B JSON, 1 conn",
        }
    }

    /// The name that selects this workload on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Stateless => "stateless",
            Self::Large => "large",
            Self::Stream => "stream",
            Self::Single => "single",
        }
    }

    /// How many connections the driver keeps busy.
    pub(crate) fn connections(self) -> usize {
        match self {
            Self::Small => 64,
            Self::Stateless | Self::Large | Self::Stream => 16,
            Self::Single => 1,
        }
    }

    /// Whether calls are of the stateless revision (2026-07-28).
    pub(crate) fn stateless(self) -> bool {
        match self {
            Self::Stateless => true,
            Self::Small | Self::Large | Self::Stream | Self::Single => false,
        }
    }

    /// The tool that makes the upstream answer with this workload's kind of result.
    pub(crate) fn tool(self) -> Tool {
        match self {
            Self::Small | Self::Stateless | Self::Single => Tool::QueryDatabase,
            Self::Large => Tool::ExportReport,
            Self::Stream => Tool::FollowCase,
        }
    }
}

/// The tools the bench upstream serves. Each has its own kind of result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// Answers 250 B of JSON.
    QueryDatabase,
    /// Answers 64 KiB of JSON.
    ExportReport,
    /// Answers an event stream that holds the result as its only event.
    FollowCase,
}

impl Tool {
    /// Every tool, in the order `tools/list` shows them.
    pub(crate) const ALL: [Self; 3] = [Self::QueryDatabase, Self::ExportReport, Self::FollowCase];

    /// The name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::QueryDatabase => "query_database",
            Self::ExportReport => "export_report",
            Self::FollowCase => "follow_case",
        }
    }

    /// The tool of this name, if the upstream has it.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    /// Arguments of the size and kind an agent sends (about 200 B of JSON).
    pub(crate) fn arguments(self) -> &'static str {
        match self {
            Self::QueryDatabase => {
                r#"{"database":"crm","sql":"SELECT id, subject, status, opened_at FROM cases WHERE account_id = 40721 AND status IN ('open', 'pending') ORDER BY opened_at DESC LIMIT 20","limit":20,"timeout_ms":2000}"#
            }
            Self::ExportReport => {
                r#"{"report":"open_cases_by_account","database":"crm","from":"2026-01-01","to":"2026-06-30","columns":["account_id","case_id","subject","status","opened_at"],"format":"csv","limit":500}"#
            }
            Self::FollowCase => {
                r#"{"case_id":"CASE-40721","database":"crm","events":["comment","status","assignment"],"reason":"the customer asked to be told about every change until the case is closed","limit":1}"#
            }
        }
    }
}
