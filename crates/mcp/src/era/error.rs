//! Why a body was refused because of its revision or its headers.

use std::borrow::Cow;

use thiserror::Error;

use crate::encode;
use crate::error::{HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, UNSUPPORTED_VERSION};
use crate::revision::{Era, Revision};

/// The kinds of refusal, with stable names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EraFault {
    /// A mirrored header the revision requires is not there.
    MissingHeader,
    /// A mirrored header differs from the body.
    Mismatch,
    /// A modern request lacks required `_meta`, or `initialize` lacks its version.
    Metadata,
    /// A modern request in a revision we do not speak.
    UnsupportedVersion,
    /// A stateful message whose header names a revision we do not speak.
    UnknownVersion,
    /// An array where the revision has no batches.
    Batch,
    /// `initialize` inside a batch.
    BatchedInitialize,
    /// Responses and other messages in one batch.
    MixedBatch,
    /// Two messages of one batch share an id.
    BatchedTwice,
    /// A response where clients send none.
    ClientResponse,
}

impl EraFault {
    /// A stable name for logs, metrics and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingHeader => "missing_header",
            Self::Mismatch => "header_mismatch",
            Self::Metadata => "missing_metadata",
            Self::UnsupportedVersion => "unsupported_version",
            Self::UnknownVersion => "unknown_version",
            Self::Batch => "batch",
            Self::BatchedInitialize => "batched_initialize",
            Self::MixedBatch => "mixed_batch",
            Self::BatchedTwice => "batched_twice",
            Self::ClientResponse => "client_response",
        }
    }

    fn code(self) -> i64 {
        match self {
            Self::MissingHeader | Self::Mismatch => HEADER_MISMATCH,
            Self::Metadata => INVALID_PARAMS,
            Self::UnsupportedVersion => UNSUPPORTED_VERSION,
            Self::UnknownVersion
            | Self::Batch
            | Self::BatchedInitialize
            | Self::MixedBatch
            | Self::BatchedTwice
            | Self::ClientResponse => INVALID_REQUEST,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::MissingHeader => "Header mismatch: a required header is missing",
            Self::Mismatch => "Header mismatch: a header does not match the body",
            Self::Metadata => "Invalid params: required protocol metadata is missing or malformed",
            Self::UnsupportedVersion => "Unsupported protocol version",
            Self::UnknownVersion => "Bad Request: unsupported MCP-Protocol-Version",
            Self::Batch => "Bad Request: batches are not part of this protocol version",
            Self::BatchedInitialize => "Bad Request: initialize must not be part of a batch",
            Self::MixedBatch => "Bad Request: a batch holds responses or other messages, not both",
            Self::BatchedTwice => "Bad Request: an id occurs twice in a batch",
            Self::ClientResponse => {
                "Bad Request: clients send no responses in this protocol version"
            }
        }
    }
}

/// A body refused because of its revision or its headers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct EraError {
    /// What is wrong.
    pub fault: EraFault,
    /// The JSON-RPC code to answer.
    pub code: i64,
    /// The HTTP status to answer; 400 for all of these.
    pub status: u16,
    /// For the client; holds nothing of the body but names of headers.
    pub message: Cow<'static, str>,
    /// `error.data`: raw JSON.
    pub data: Option<String>,
}

impl EraError {
    pub(super) fn of(fault: EraFault) -> Self {
        Self {
            fault,
            code: fault.code(),
            status: 400,
            message: Cow::Borrowed(fault.message()),
            data: None,
        }
    }

    pub(super) fn missing_header(header: &str) -> Self {
        Self {
            message: Cow::Owned(format!("Header mismatch: {header} is missing")),
            ..Self::of(EraFault::MissingHeader)
        }
    }

    pub(super) fn mismatch(header: &str) -> Self {
        Self {
            message: Cow::Owned(format!("Header mismatch: {header} does not match the body")),
            ..Self::of(EraFault::Mismatch)
        }
    }

    /// `data.supported` names the stateless revisions only: a request that carries its version in `_meta` can be repeated
    /// in no other.
    pub(super) fn unsupported(requested: &str) -> Self {
        let supported: Vec<String> = Revision::ALL
            .iter()
            .filter(|revision| revision.era() == Era::Stateless)
            .map(|revision| encode::escape(revision.as_str()))
            .collect();
        let requested = encode::escape(requested);
        Self {
            data: Some(format!(
                r#"{{"supported":[{}],"requested":{requested}}}"#,
                supported.join(",")
            )),
            ..Self::of(EraFault::UnsupportedVersion)
        }
    }
}
