//! Readiness: what stands between this configuration and production, item by item.
//!
//! The items follow the five principles of privileged access that an MCP server falls under: least privilege, vaulted
//! and rotated credentials, access just in time, a record of every call, and containment. Each item is a row of a table
//! and a function that looks; what cannot be known from here is said so, and what this version lacks is never called
//! done. `docs/readiness.md` explains every item.

mod access;
mod containment;
mod credentials;
mod privilege;
mod record;
mod report;
mod state;

use std::time::{Duration, SystemTime};

use keepgate_call::ServerName;
use keepgate_gateway::settings::Server;
use keepgate_policy::probe::Probed;
use serde::Serialize;

use crate::config::Configuration;
pub(crate) use report::{Report, text};

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What there is to look at. Nothing of it is changed.
pub(crate) struct Ground<'a> {
    /// The configuration as a start would read it.
    pub(crate) configuration: &'a Configuration,
    /// What the policies let through.
    pub(crate) probed: &'a Probed,
    /// The time.
    pub(crate) now: SystemTime,
}

impl Ground<'_> {
    /// The servers by name.
    fn servers(&self) -> impl Iterator<Item = (&ServerName, &Server)> {
        self.configuration.gateway.servers.iter()
    }

    /// The names of the servers that `wanted` holds for.
    fn named(&self, wanted: impl Fn(&Server) -> bool) -> Vec<String> {
        self.servers()
            .filter(|(_, server)| wanted(server))
            .map(|(name, _)| name.to_string())
            .collect()
    }
}

/// How an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// It is so.
    Done,
    /// It is not so, and can be.
    Missing,
    /// It cannot be told from the configuration, the policies and the state directory.
    NotKnowable,
    /// This version cannot do it; something else has to, until then.
    NotInThisVersion,
}

/// What a look at one item brought.
#[derive(Debug)]
struct Finding {
    standing: Standing,
    why: String,
    /// Exact words to write or to type; none where there is nothing to mend.
    mend: Option<String>,
}

impl Finding {
    fn done(why: impl Into<String>) -> Self {
        Self {
            standing: Standing::Done,
            why: why.into(),
            mend: None,
        }
    }

    fn missing(why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::with(Standing::Missing, why, mend)
    }

    fn not_knowable(why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::with(Standing::NotKnowable, why, mend)
    }

    fn later(why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::with(Standing::NotInThisVersion, why, mend)
    }

    fn with(standing: Standing, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            standing,
            why: why.into(),
            mend: Some(mend.into()),
        }
    }
}

/// One item of the list.
struct Item {
    /// Its stable name, for machines and for the documentation.
    id: &'static str,
    /// What has to be so.
    title: &'static str,
    look: fn(&Ground<'_>) -> Finding,
}

/// The items of one principle.
struct Group {
    title: &'static str,
    items: &'static [Item],
}

/// The list.
const GROUPS: [&Group; 5] = [
    &privilege::GROUP,
    &credentials::GROUP,
    &access::GROUP,
    &record::GROUP,
    &containment::GROUP,
];

/// Looks at every item.
pub(crate) fn look(ground: &Ground<'_>) -> Report {
    let mut report = Report::new(ground.probed);
    for group in GROUPS {
        for item in group.items {
            report.add(group.title, item.id, item.title, (item.look)(ground));
        }
    }
    report
}

/// A list of names for a sentence, the first few of them.
fn names(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = names.len().saturating_sub(SHOWN);
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}

/// The first of them, to show how it is mended.
fn first(names: &[String]) -> &str {
    names.first().map_or("", String::as_str)
}

#[cfg(test)]
mod tests;
