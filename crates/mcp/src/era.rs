//! Which revision a body speaks, from headers and body together.

use std::borrow::Cow;

use thiserror::Error;

use crate::header::Mirrored;
use crate::message::Body;
use crate::revision::{Era, Revision};

/// How a body is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// The revision it speaks.
    pub revision: Revision,
    /// With a session or without.
    pub era: Era,
}

/// A body refused because of its revision or its headers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct EraError {
    /// The JSON-RPC code to answer.
    pub code: i64,
    /// The HTTP status to answer; 400 for all of these.
    pub status: u16,
    /// For the client; holds nothing of the body but names.
    pub message: Cow<'static, str>,
    /// `error.data`: raw JSON.
    pub data: Option<String>,
}

/// Decides which revision `body` speaks.
///
/// `session` is the revision of the live session that `Mcp-Session-Id` named, if it named one.
///
/// # Errors
/// Headers and body that disagree, revisions we do not speak, and what the revision does not have.
pub fn classify(
    headers: &Mirrored<'_>,
    body: &Body,
    session: Option<Revision>,
) -> Result<Framing, EraError> {
    let _ = (headers, body);
    let revision = session.unwrap_or(Revision::ASSUMED);
    Ok(Framing {
        revision,
        era: revision.era(),
    })
}
