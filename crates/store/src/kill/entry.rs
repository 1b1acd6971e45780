//! What is written of kills: the same words in the file, the database and the answers to operators.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use keepgate_call::Tenant;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Cleared, Kill, Scope, is_reason};

/// Longest name of an operator, in bytes.
const LONGEST_NAME: usize = 128;

/// One act, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// Something was cut off.
    Set(Set),
    /// A kill was ended.
    Clear(Clear),
}

/// A kill that was set. Times are RFC 3339, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Its id.
    pub id: String,
    /// The scope's word.
    pub scope: String,
    /// The target, of scopes that have one.
    pub target: Option<String>,
    /// The only tenant it is for.
    pub tenant: Option<String>,
    /// Why.
    pub reason: String,
    /// Who set it.
    pub by: String,
    /// When.
    pub at: String,
    /// When it ends by itself.
    pub expires: Option<String>,
}

/// A kill that was ended. Times are RFC 3339, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clear {
    /// Which.
    pub id: String,
    /// Why.
    pub reason: String,
    /// Who ended it.
    pub by: String,
    /// When.
    pub at: String,
}

impl Set {
    /// What is written of a kill when it is set.
    pub fn of(kill: &Kill) -> Self {
        Self {
            id: kill.id.to_string(),
            scope: kill.scope.word().to_owned(),
            target: kill.scope.target().map(std::borrow::Cow::into_owned),
            tenant: kill.tenant.as_ref().map(ToString::to_string),
            reason: kill.reason.to_string(),
            by: kill.by.to_string(),
            at: text(kill.set_at),
            expires: kill.expires_at.map(text),
        }
    }

    /// The kill, or which part of what was written makes none.
    pub(crate) fn kill(&self) -> Result<Kill, &'static str> {
        if !is_id(&self.id) {
            return Err("id");
        }
        if !is_reason(&self.reason) {
            return Err("reason");
        }
        if !is_name(&self.by) {
            return Err("by");
        }
        let scope = Scope::parse(&self.scope, self.target.as_deref())
            .map_err(|_error| "scope or target")?;
        let expires_at = match &self.expires {
            None => None,
            Some(end) => Some(moment(end).ok_or("expires")?),
        };
        Ok(Kill {
            id: self.id.as_str().into(),
            scope,
            tenant: self.tenant.as_deref().map(Tenant::new),
            reason: self.reason.as_str().into(),
            by: self.by.as_str().into(),
            set_at: moment(&self.at).ok_or("at")?,
            expires_at,
            deadline: expires_at.map(deadline),
            cleared: None,
        })
    }
}

impl Clear {
    /// What is written of a kill when it is ended; `None` while it is not.
    pub fn of(kill: &Kill) -> Option<Self> {
        kill.cleared.as_ref().map(|cleared| Self {
            id: kill.id.to_string(),
            reason: cleared.reason.to_string(),
            by: cleared.by.to_string(),
            at: text(cleared.at),
        })
    }

    /// Checks that it can be read once it is written.
    ///
    /// # Errors
    /// The name of the part that makes no sense.
    pub fn check(&self) -> Result<(), &'static str> {
        self.cleared().map(drop)
    }

    /// How it ended, or which part of what was written makes no sense.
    pub(crate) fn cleared(&self) -> Result<Cleared, &'static str> {
        if !is_reason(&self.reason) {
            return Err("reason");
        }
        if !is_name(&self.by) {
            return Err("by");
        }
        Ok(Cleared {
            at: moment(&self.at).ok_or("at")?,
            by: Arc::from(self.by.as_str()),
            reason: Arc::from(self.reason.as_str()),
        })
    }
}

/// Whether a text has the form of a kill's id.
pub(crate) fn is_id(id: &str) -> bool {
    id.strip_prefix("k_")
        .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether a text can stand as the name of an operator.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control)
}

/// A moment in RFC 3339, UTC.
pub fn text(moment: SystemTime) -> String {
    OffsetDateTime::from(moment)
        .format(&Rfc3339)
        .unwrap_or_default()
}

fn moment(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .map(SystemTime::from)
}

/// The end of a kill on the clock that nobody can set. One that is past is now.
fn deadline(end: SystemTime) -> Instant {
    let left = end.duration_since(SystemTime::now()).unwrap_or_default();
    let now = Instant::now();
    now.checked_add(left).unwrap_or(now)
}
