//! What Vault's answers mean. Statuses first: only a success is read.

use std::{
    borrow::Cow,
    collections::HashMap,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use super::http::Answer;
use crate::{error::Fault, secret::Secret};

/// An answer of an engine. Members are kept as text until the one that is wanted is known.
#[derive(Deserialize)]
pub(super) struct Envelope<'a> {
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) auth: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) lease_id: Option<String>,
    #[serde(default)]
    pub(super) lease_duration: Option<u64>,
    #[serde(default)]
    pub(super) renewable: Option<bool>,
}

/// What a login, a renewal of a token, gives.
#[derive(Deserialize)]
pub(super) struct Auth<'a> {
    #[serde(borrow, default)]
    pub(super) client_token: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// Data of a wrapping token (`sys/wrapping/lookup`).
#[derive(Deserialize)]
pub(super) struct Wrapping {
    #[serde(default)]
    pub(super) creation_path: Option<String>,
}

/// What a token says of itself (`auth/token/lookup-self`).
#[derive(Deserialize)]
pub(super) struct Itself {
    pub(super) ttl: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// What a lease says of itself (`sys/leases/lookup`).
#[derive(Deserialize)]
pub(super) struct Lookup {
    pub(super) ttl: i64,
}

/// What KV version 2 puts around a secret.
#[derive(Deserialize)]
pub(super) struct Versioned<'a> {
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

/// What KV version 2 says of a version.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    created_time: Option<String>,
}

impl Versioned<'_> {
    /// When the version was written. Nothing depends on it but a warning: what cannot be read is not known.
    pub(super) fn created(&self) -> Option<SystemTime> {
        let metadata: Metadata = part(self.metadata).ok()?;
        let written = OffsetDateTime::parse(&metadata.created_time?, &Rfc3339).ok()?;
        Some(written.into())
    }
}

type Fields<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

impl Answer {
    /// Whether the answer is a success, and if not, what it means.
    pub(super) fn success(&self) -> Result<(), Fault> {
        let status = self.status;
        Err(match status.as_u16() {
            200..=299 => return Ok(()),
            // Only a standby node redirects. Following would send the token to wherever it points.
            300..=399 | 472 | 473 => Fault::Standby,
            403 => Fault::Forbidden,
            404 => Fault::NotFound,
            // A replica that has not caught up with a write.
            412 => Fault::Failing { status: 412 },
            429 => Fault::RateLimited {
                after: Duration::from_secs(self.retry_after.unwrap_or(1)),
            },
            501 => Fault::Uninitialised,
            500..=599 => self.failing(status),
            other => Fault::Unexpected { status: other },
        })
    }

    /// A 5xx. Only the words of Vault's own messages tell a sealed one from a standby without a leader.
    fn failing(&self, status: StatusCode) -> Fault {
        let text = String::from_utf8_lossy(&self.body).to_ascii_lowercase();
        if text.contains("sealed") {
            Fault::Sealed
        } else if text.contains("standby") || text.contains("not active") {
            Fault::Standby
        } else {
            Fault::Failing {
                status: status.as_u16(),
            }
        }
    }

    /// The body, which has to be the one form all answers have.
    pub(super) fn envelope(&self) -> Result<Envelope<'_>, Fault> {
        serde_json::from_slice(&self.body).map_err(|_| Fault::Invalid)
    }
}

/// Reads a part of an answer.
pub(super) fn part<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<T, Fault> {
    let raw = raw.ok_or(Fault::Invalid)?;
    serde_json::from_str(raw.get()).map_err(|_| Fault::Invalid)
}

/// The text of one field.
pub(super) fn field(data: Option<&RawValue>, name: &str) -> Result<Secret, Fault> {
    let fields: Fields<'_> = part(data)?;
    text(fields.get(name).copied())
}

/// A JSON string as a secret.
pub(super) fn text(raw: Option<&RawValue>) -> Result<Secret, Fault> {
    let raw = raw.ok_or(Fault::NoField)?;
    let text: Zeroizing<String> = serde_json::from_str(raw.get())
        .map(Zeroizing::new)
        .map_err(|_| Fault::NoField)?;
    Ok(Secret::new(text.as_bytes().to_vec()))
}
