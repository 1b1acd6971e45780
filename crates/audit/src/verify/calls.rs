//! Whether each call was announced before it was made.

use std::collections::HashSet;

use super::{Problem, Report};
use crate::record::{Head, Kind};

/// Calls that were announced and are not over.
#[derive(Debug, Default)]
pub(super) struct Calls {
    announced: HashSet<Box<str>>,
}

impl Calls {
    /// Takes a record into account.
    pub(super) fn note(&mut self, index: u64, head: Head, report: &mut Report) {
        let mut find = |what: &str| report.find(Problem::Intent, format!("record {index}"), what);
        match (head.kind, head.decision_id) {
            (Kind::CallIntent, Some(id)) => {
                if !self.announced.insert(id) {
                    find("the intent was written before and the call is not over");
                }
            }
            (Kind::CallOpen, Some(id)) => {
                if !self.announced.contains(&id) {
                    find("the stream was opened without an intent");
                }
            }
            (Kind::CallOutcome, Some(id)) => {
                if !self.announced.remove(&id) {
                    find("the outcome has no intent, or is the second one");
                }
            }
            (Kind::CallIntent | Kind::CallOpen | Kind::CallOutcome, None) => {
                find("the record names no decision")
            }
            (Kind::LogOpened, _) => {
                // What ran before a restart is over, with or without a word.
                report.unfinished += self.announced.len() as u64;
                self.announced.clear();
            }
            (
                Kind::CallRefused
                | Kind::ListFiltered
                | Kind::SessionStart
                | Kind::SessionEnd
                | Kind::AuthDenied
                | Kind::ServerRequest
                | Kind::PolicyActivated
                | Kind::PolicyRejected
                | Kind::KillSet
                | Kind::KillCleared
                | Kind::KillDrill
                | Kind::LogClosed
                | Kind::LogLoss
                | Kind::Heartbeat,
                _,
            ) => {}
        }
    }

    /// Calls announced and not over at the end of the log.
    pub(super) fn running(&self) -> u64 {
        self.announced.len() as u64
    }
}
