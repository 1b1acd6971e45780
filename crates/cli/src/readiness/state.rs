//! What readiness reads of the state directory, without changing it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use keepgate_admin::Permission;
use keepgate_authn::{ApiKey, ApiKeys};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Finding;
use crate::config::{AuthMode, Configuration};
use crate::failure::chain;

/// Folder of the reports of drills.
const DRILLS: &str = "drills";

/// A report of a drill, as far as readiness wants to know.
#[derive(Deserialize)]
struct Drill {
    at: String,
}

/// A look at a file that may not be looked at: readiness has to be asked as the user of the gateway.
pub(super) fn unreadable(why: &str) -> Finding {
    Finding::not_knowable(
        format!("the state directory cannot be read: {why}"),
        "ask as the gateway's user: sudo -u keepgate keepgate check --readiness",
    )
}

/// Whether API keys let callers in.
pub(super) fn uses_keys(configuration: &Configuration) -> bool {
    let beside_tokens = configuration.oauth.as_ref().is_some_and(|oauth| oauth.keys);
    configuration.auth == AuthMode::Keys || beside_tokens
}

/// Every key; none when there is no store yet.
pub(super) fn keys(state: &Path) -> Result<Vec<ApiKey>, String> {
    // Opening a store makes one, so that is left to those who want one.
    let is_there = |file| {
        let there = state.join(file).try_exists();
        there.map_err(|error| error.to_string())
    };
    if !is_there(ApiKeys::FILE)? && !is_there(ApiKeys::SECRET_FILE)? {
        return Ok(Vec::new());
    }
    let store = ApiKeys::open(state).map_err(|error| chain(&error))?;
    store.list().map_err(|error| chain(&error))
}

/// The active operators who may cut off.
pub(super) fn responders(state: &Path) -> Result<Vec<String>, String> {
    let operators = keepgate_admin::read(state).map_err(|error| chain(&error))?;
    let active = operators.into_iter().filter(|operator| {
        let mut roles = operator.roles.iter();
        operator.revoked.is_none() && roles.any(|role| role.may(Permission::Set))
    });
    Ok(active.map(|operator| operator.name).collect())
}

/// When the last drill was, of those that can be read.
pub(super) fn last_drill(state: &Path) -> Result<Option<SystemTime>, String> {
    let entries = match fs::read_dir(state.join(DRILLS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let mut last: Option<SystemTime> = None;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let drill: Option<Drill> = json(&path)?;
        let at = drill.and_then(|drill| OffsetDateTime::parse(&drill.at, &Rfc3339).ok());
        last = last.max(at.map(SystemTime::from));
    }
    Ok(last)
}

/// A file of ours; `None` when it is not there.
fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{error}: `{}`", path.display())),
    };
    let read = serde_json::from_slice(&bytes);
    read.map(Some)
        .map_err(|error| format!("{error}: `{}`", path.display()))
}
