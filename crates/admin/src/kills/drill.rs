//! A drill: what a kill would cut, written down. Readiness wants to see that one was done.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::SystemTime,
};

use keepgate_store::kill::{Blast, Facts, Kill, Switch, text};
use serde::Serialize;

use crate::source::Session;

/// Most sessions a report names; the count tells of the rest.
const MOST: usize = 1000;
/// A session is active that was used within this many seconds.
const ACTIVE_S: u64 = 5 * 60;

/// Report of a drill: the reach of a kill that was not set.
#[derive(Debug, Serialize)]
pub struct DrillReport {
    /// Time of it.
    pub at: String,
    /// The operator.
    pub by: String,
    /// Word of the scope.
    pub scope: &'static str,
    /// Name of what it would cut off.
    pub target: Option<String>,
    /// The only tenant, if it is for one.
    pub tenant: Option<String>,
    /// Reach of the kill.
    pub would_cut: DrillCut,
    /// Kills that are in force now, whatever their scope.
    pub kills_in_force: usize,
    /// Where the report lies.
    pub path: Option<PathBuf>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Reach of a kill.
#[derive(Debug, Serialize)]
pub struct DrillCut {
    /// Calls and streams that run.
    pub running: usize,
    /// Of these, by server.
    pub running_by_server: BTreeMap<String, usize>,
    /// By caller.
    pub running_by_caller: BTreeMap<String, usize>,
    /// By tool.
    pub running_by_tool: BTreeMap<String, usize>,
    /// Sessions that would end.
    pub sessions: usize,
    /// Of these, used in the last five minutes.
    pub sessions_active: usize,
    /// Everybody who has such a session or a running call.
    pub callers: BTreeSet<String>,
    /// Every server they use.
    pub servers: BTreeSet<String>,
    /// The first of these sessions.
    pub session_list: Vec<Session>,
}

impl DrillReport {
    /// The report of a kill that is not set.
    pub(super) fn new(kill: &Kill, blast: Blast, sessions: Vec<Session>, switch: &Switch) -> Self {
        let mut sessions: Vec<Session> = sessions
            .into_iter()
            .filter(|session| kill.covers(&facts(session)))
            .collect();
        let mut callers: BTreeSet<String> = blast.callers.keys().cloned().collect();
        let mut servers: BTreeSet<String> = blast.servers.keys().cloned().collect();
        callers.extend(sessions.iter().map(|session| session.caller.clone()));
        servers.extend(sessions.iter().map(|session| session.server.clone()));
        let active = sessions.iter().filter(|session| session.idle_s <= ACTIVE_S);
        let would_cut = DrillCut {
            running: blast.running,
            running_by_server: blast.servers,
            running_by_caller: blast.callers,
            running_by_tool: blast.tools,
            sessions: sessions.len(),
            sessions_active: active.count(),
            callers,
            servers,
            session_list: {
                sessions.truncate(MOST);
                sessions
            },
        };
        Self {
            at: text(kill.set_at),
            by: kill.by.to_string(),
            scope: kill.scope.word(),
            target: kill.scope.target().map(std::borrow::Cow::into_owned),
            tenant: kill.tenant.as_ref().map(ToString::to_string),
            would_cut,
            kills_in_force: switch.in_force().len(),
            path: None,
            warnings: Vec::new(),
        }
    }
}

fn facts(session: &Session) -> Facts<'_> {
    Facts {
        tenant: &session.tenant,
        server: &session.server,
        tool: None,
        caller: &session.caller,
        client: session.client.as_deref(),
        grant: session.grant.as_deref(),
        key: session.key.as_deref(),
        session: Some(&session.id),
        credentials: &session.credentials,
    }
}

/// Writes the report into `directory`, 0600, and gives its path.
pub(super) async fn keep(directory: &Path, report: &DrillReport) -> Result<PathBuf, String> {
    let bytes = serde_json::to_vec_pretty(report).map_err(|error| error.to_string())?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let name = format!("drill-{}.json", since.unwrap_or_default().as_millis());
    let (directory, path) = (directory.to_path_buf(), directory.join(name));
    let written = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            keepgate_files::create_directory(&directory)?;
            keepgate_files::replace(&path, &bytes)
        })
    };
    match tokio::time::timeout(super::RECORD, written).await {
        Ok(Ok(Ok(()))) => Ok(path),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(_panicked)) => Err("writing has failed".to_owned()),
        Err(_elapsed) => Err("the disk has not answered".to_owned()),
    }
}
