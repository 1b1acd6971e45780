//! `POST`: one message, or in 2025-03-26 a batch of them.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use hyper::body::Incoming;
use keepgate_call::{Code, Refusal};
use keepgate_mcp::{
    DecodeFault, EraError,
    era::classify,
    error,
    message::{self, Body as Decoded},
};
use keepgate_transport::{
    Body,
    body::{ReadError, read_within},
};

use super::{
    Arrived, Inner, accepts, answer, batch,
    held::{self, Begun},
    mirrored,
    narrow::narrowed,
};
use crate::inspection::Inspection;
use crate::render::{self, Asked};

impl Inner {
    /// Reads a body whole and decodes it.
    pub(super) async fn read(&self, body: Incoming) -> Result<Decoded, Refusal> {
        let (most, deadline) = (self.limits.body, self.limits.read_deadline);
        let body = read_within(body, most, deadline, &self.shared.memory)
            .await
            .map_err(unread)?
            .tied();
        let limits = keepgate_mcp::Limits {
            bytes: self.limits.body,
            depth: self.limits.depth,
            ..keepgate_mcp::Limits::request()
        };
        self.decoded(body, limits).await
    }

    /// Decodes a body; a long one elsewhere, since others wait for this worker.
    async fn decoded(&self, body: Bytes, limits: keepgate_mcp::Limits) -> Result<Decoded, Refusal> {
        let read = move |body| message::decode(body, &limits);
        let decoded = match Inspection::is_long_to_read(body.len()) {
            false => read(body),
            true => self.shared.inspection.run(move || read(body)).await?,
        };
        decoded.map_err(undecoded)
    }

    pub(super) async fn post(
        self: Arc<Self>,
        arrived: Arrived,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        plain_json(&arrived.headers)?;
        if !accepts(&arrived.headers, "application/json")?
            || !accepts(&arrived.headers, "text/event-stream")?
        {
            return Err(Refusal::new(Code::NotAcceptable));
        }
        let mirrored = mirrored(&arrived.headers)?;
        let body = self.read(body).await?;
        let session = self
            .session(&arrived, &mirrored)
            .map(|session| session.revision());
        let framing = match classify(&mirrored, &body, session) {
            Ok(framing) => framing,
            Err(error) => {
                let refusal = self.noted(era_code(&error), &arrived);
                return Ok(render::era(&error, &refusal, body.messages()));
            }
        };
        match body {
            Decoded::Single(message) => {
                let message = narrowed(message, framing.revision)?;
                let call = self.posted(&arrived, &mirrored, framing.revision, message);
                let call = Arc::new(call.await?);
                let reply = match held::begun(self.begin(&call), &call, &self.shared.tasks).await {
                    Begun::Held(run) => return Ok(held::respond(&self, &call, run)),
                    Begun::Over(reply) => self.challenged(&call, reply),
                };
                match reply {
                    Ok(reply) => Ok(answer::respond(&self, &call, reply)),
                    Err(refusal) => Ok(render::in_band(&refusal, &Asked::of(&call))),
                }
            }
            Decoded::Batch(messages) => {
                let mut calls = Vec::with_capacity(messages.len());
                for message in messages {
                    let message = narrowed(message, framing.revision)?;
                    let call = self.posted(&arrived, &mirrored, framing.revision, message);
                    let mut call = call.await?;
                    // The answers of a batch go out together: one that is held would hold up all.
                    call.wait.may_stream = false;
                    calls.push(call);
                }
                batch::run(&self, calls).await
            }
        }
    }
}

/// Only plain `application/json` is read: what is encoded is judged by nobody.
pub(super) fn plain_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    let line = lines
        .next()
        .and_then(|line| line.to_str().ok())
        .unwrap_or_default();
    let mut parts = line.split(';').map(str::trim);
    let json = parts
        .next()
        .is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| {
        parameter.is_empty()
            || parameter.eq_ignore_ascii_case("charset=utf-8")
            || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
    });
    let encoded = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|line| line != "identity");
    if json && utf8 && !encoded && lines.next().is_none() {
        return Ok(());
    }
    Err(Refusal::new(Code::MediaType))
}

fn unread(error: ReadError) -> Refusal {
    let code = match error {
        ReadError::TooLarge { .. } => {
            return Refusal::new(Code::BodyTooLarge)
                .over("limits.body")
                .source(error);
        }
        ReadError::NoMemory(_) => {
            return Refusal::new(Code::Overloaded)
                .over("limits.memory")
                .source(error);
        }
        ReadError::TooSlow { .. } => {
            return Refusal::new(Code::BodyIncomplete)
                .over("limits.read_deadline")
                .source(error);
        }
        ReadError::Broken(ref cause) if is_malformed(&**cause) => {
            return Refusal::new(Code::MessageInvalid)
                .detail("the chunked framing of the body is malformed")
                .source(error);
        }
        ReadError::Broken(_) => Code::BodyIncomplete,
    };
    Refusal::new(code).source(error)
}

/// Whether a body broke off since its bytes are no chunks, and not since they stopped.
fn is_malformed(cause: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(cause);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
            );
        }
        next = error.source();
    }
    false
}

fn undecoded(error: keepgate_mcp::DecodeError) -> Refusal {
    let code = if error.code() == error::PARSE_ERROR {
        Code::JsonInvalid
    } else {
        Code::MessageInvalid
    };
    let refusal = Refusal::new(code).detail(error.to_string());
    if error.fault == DecodeFault::TooLarge {
        refusal.over("limits.body")
    } else if error.fault == DecodeFault::TooDeep {
        refusal.over("limits.depth")
    } else {
        refusal
    }
}

/// The code of an era error, for records and meters.
pub(super) fn era_code(error: &EraError) -> Code {
    match error.code {
        error::HEADER_MISMATCH => Code::HeaderMismatch,
        error::UNSUPPORTED_VERSION => Code::RevisionUnsupported,
        error::INVALID_PARAMS => Code::MetaMissing,
        _ => Code::MessageInvalid,
    }
}
