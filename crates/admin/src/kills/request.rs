//! What operators send: strict JSON, every member known, nothing guessed.

use std::{sync::Arc, time::Duration};

use keepgate_store::kill::{Scope, Wish};
use serde::{Deserialize, de::DeserializeOwned};

/// The body of `POST /api/v1/kills`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillSetting {
    /// Made by a command that may have to write the kill to the file, too.
    pub(crate) id: Option<String>,
    scope: String,
    target: Option<String>,
    tenant: Option<String>,
    reason: String,
    expires_in: Option<String>,
}

/// The body of `POST /api/v1/kills/drill`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillDrill {
    scope: String,
    target: Option<String>,
    tenant: Option<String>,
    reason: Option<String>,
}

/// The body of `DELETE /api/v1/kills/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillClearing {
    pub(crate) reason: String,
}

/// The query of `GET /api/v1/kills`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillListing {
    /// Also those that are over.
    pub(crate) all: bool,
    /// The kill after which the page begins.
    pub(crate) after: Option<String>,
    /// Most kills of the page.
    pub(crate) limit: usize,
}

/// Most kills of a page: some megabytes, with the longest reasons.
const MAX_PAGE: usize = 2_000;

impl KillListing {
    /// A page of `limit` kills after the one with this id; `all` also has those that are over.
    pub fn new(all: bool, after: Option<&str>, limit: usize) -> Self {
        Self {
            all,
            after: after.map(str::to_owned),
            limit: limit.clamp(1, MAX_PAGE),
        }
    }

    /// Reads a query, strictly: each member known and there once.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, String> {
        let mut seen = Vec::new();
        let mut listing = Self {
            all: false,
            after: None,
            limit: MAX_PAGE,
        };
        for member in query.into_iter().flat_map(|query| query.split('&')) {
            let (name, value) = member.split_once('=').unwrap_or((member, ""));
            let limit = || {
                value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=MAX_PAGE).contains(limit))
            };
            match name {
                _ if seen.contains(&name) => return Err(format!("`{name}` is there twice")),
                "all" if value == "true" => listing.all = true,
                "after" => listing.after = Some(value.to_owned()),
                "limit" => {
                    let why = || format!("`limit` is a number from 1 to {MAX_PAGE}: `{value}`");
                    listing.limit = limit().ok_or_else(why)?;
                }
                _ => return Err(QUERY.to_owned()),
            }
            seen.push(name);
        }
        Ok(listing)
    }
}

const QUERY: &str = "a query has `all=true`, `after=ID` and `limit=NUMBER`, each once at most";

/// Reads a body.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

impl KillSetting {
    /// A kill of this scope.
    pub fn new(
        scope: &str,
        target: Option<&str>,
        tenant: Option<&str>,
        reason: &str,
        expires_in: Option<&str>,
    ) -> Self {
        Self {
            id: None,
            scope: scope.to_owned(),
            target: target.map(str::to_owned),
            tenant: tenant.map(str::to_owned),
            reason: reason.to_owned(),
            expires_in: expires_in.map(str::to_owned),
        }
    }

    /// The wish, in the operator's name.
    pub(crate) fn wish(&self, by: &Arc<str>) -> Result<Wish, String> {
        let scope = Scope::parse(&self.scope, self.target.as_deref());
        let lasts = match &self.expires_in {
            None => None,
            Some(text) => Some(duration(text).ok_or_else(|| {
                format!("`expires_in` is a number and a unit, like 30m, 12h or 7d: `{text}`")
            })?),
        };
        Ok(Wish {
            scope: scope.map_err(|error| error.to_string())?,
            tenant: tenant(self.tenant.as_deref())?,
            reason: self.reason.clone(),
            by: by.to_string(),
            lasts,
        })
    }
}

impl KillDrill {
    /// A drill of a kill of this scope.
    pub fn new(scope: &str, target: Option<&str>, tenant: Option<&str>) -> Self {
        Self {
            scope: scope.to_owned(),
            target: target.map(str::to_owned),
            tenant: tenant.map(str::to_owned),
            reason: None,
        }
    }

    /// The wish, in the operator's name. A drill needs no reason: it cuts nothing.
    pub(crate) fn wish(&self, by: &Arc<str>) -> Result<Wish, String> {
        let scope = Scope::parse(&self.scope, self.target.as_deref());
        Ok(Wish {
            scope: scope.map_err(|error| error.to_string())?,
            tenant: tenant(self.tenant.as_deref())?,
            reason: self.reason.clone().unwrap_or_else(|| "drill".to_owned()),
            by: by.to_string(),
            lasts: None,
        })
    }
}

impl KillClearing {
    /// The end of a kill, for a reason.
    pub fn new(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
        }
    }
}

/// The only tenant, if one is named.
fn tenant(name: Option<&str>) -> Result<Option<keepgate_store::kill::Tenant>, String> {
    let Some(name) = name else { return Ok(None) };
    match Scope::parse("tenant", Some(name)) {
        Ok(Scope::Tenant(tenant)) => Ok(Some(tenant)),
        Ok(_) | Err(_) => Err(format!("not the name of a tenant: `{name}`")),
    }
}

/// A number and one unit: `90s`, `30m`, `12h`, `7d`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = plain.then(|| number.parse().ok()).flatten()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
