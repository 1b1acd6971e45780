//! What the driver found, step by step.

use std::fmt;
use std::future::Future;

use rmcp::ServiceError;
use serde_json::{Value, json};

use super::PATIENCE;
use crate::connect::ConnectError;

/// How a step ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did what it should; the text says what was seen.
    Done(String),
    /// There is no such thing here; the text says why.
    Skipped(&'static str),
}

/// How a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error("failed to connect")]
    Connect(#[source] ConnectError),
    #[error("the call failed")]
    Service(#[source] Box<ServiceError>),
    #[error("waited in vain for {0}")]
    Silence(&'static str),
    #[error("not as expected: {0}")]
    Unexpected(String),
}

impl From<ServiceError> for StepError {
    fn from(error: ServiceError) -> Self {
        Self::Service(Box::new(error))
    }
}

/// `Ok` with what was seen if `holds`, otherwise the same as an error.
pub(super) fn expect(holds: bool, seen: impl Into<String>) -> Result<Outcome, StepError> {
    if holds {
        Ok(Outcome::Done(seen.into()))
    } else {
        Err(StepError::Unexpected(seen.into()))
    }
}

/// The report: every step in order, and whether all went well.
#[derive(Debug, Default)]
pub struct Report {
    steps: Vec<(&'static str, Value)>,
    failed: bool,
}

impl Report {
    /// Whether no step failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.failed
    }

    /// Runs one step, for [`PATIENCE`] at most.
    pub(super) async fn run(
        &mut self,
        name: &'static str,
        step: impl Future<Output = Result<Outcome, StepError>>,
    ) {
        let ended = match tokio::time::timeout(PATIENCE, step).await {
            Ok(ended) => ended,
            Err(_) => Err(StepError::Silence("the end of the step")),
        };
        self.add(name, ended);
    }

    pub(super) fn add(&mut self, name: &'static str, ended: Result<Outcome, StepError>) {
        let line = match ended {
            Ok(Outcome::Done(detail)) => json!({ "ok": true, "detail": detail }),
            Ok(Outcome::Skipped(why)) => json!({ "ok": true, "skipped": true, "detail": why }),
            Err(error) => {
                self.failed = true;
                json!({ "ok": false, "detail": crate::explain(&error) })
            }
        };
        self.steps.push((name, line));
    }
}

/// One JSON object, steps in order, one step to a line.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("{")?;
        for (place, (name, line)) in self.steps.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(out, "{comma}\n  \"{name}\": {line}")?;
        }
        out.write_str("\n}")
    }
}
