//! Whether each call was announced before it was made, and whether what shares a record was counted.

use std::collections::{HashMap, HashSet};

use super::{Problem, Report};
use crate::record::{Head, Kind};

/// Seconds after its time in which the writer has certainly written a count.
const COUNT_DUE_S: i64 = 5;
/// Counts that are waited for before those long due are looked for and forgotten.
const WAITED_MOST: usize = 4_096;

/// Calls that were announced and are not over, and counts that may still come.
#[derive(Debug, Default)]
pub(super) struct Calls {
    announced: HashSet<Box<str>>,
    /// The first records whose equal ones are being counted, and until when.
    counting: HashMap<Box<str>, i64>,
    /// The time of the last record.
    last_s: i64,
}

impl Calls {
    /// Takes a record into account.
    pub(super) fn note(&mut self, index: u64, head: Head, report: &mut Report) {
        self.count(&head, report);
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
                | Kind::RecordRepeated
                | Kind::ListFiltered
                | Kind::SessionStart
                | Kind::SessionEnd
                | Kind::AuthDenied
                | Kind::ServerRequest
                | Kind::PolicyActivated
                | Kind::PolicyRejected
                | Kind::ConfigActivated
                | Kind::ConfigRejected
                | Kind::KillSet
                | Kind::KillCleared
                | Kind::KillDrill
                | Kind::KillPartial
                | Kind::KillCompleted
                | Kind::ApprovalRequested
                | Kind::ApprovalDecided
                | Kind::ApprovalConsumed
                | Kind::ApprovalEnded
                | Kind::OperatorLogin
                | Kind::ClockJumped
                | Kind::LogClosed
                | Kind::LogLoss
                | Kind::Heartbeat,
                _,
            ) => {}
        }
    }

    /// Follows which records still lack the count of those equal to them.
    fn count(&mut self, head: &Head, report: &mut Report) {
        match (head.kind, &head.decision_id, head.within_s) {
            // A crash takes the counts along that were not written; an orderly end leaves none.
            (Kind::LogOpened, _, _) => {
                report.uncounted += self.uncounted();
                self.counting.clear();
            }
            (Kind::LogClosed, _, _) => self.counting.clear(),
            (Kind::RecordRepeated, Some(id), _) => {
                self.counting.remove(id);
            }
            (_, Some(id), Some(within)) => {
                if self.counting.len() >= WAITED_MOST {
                    let last = self.last_s;
                    self.counting.retain(|_, until| *until >= last);
                }
                let within = i64::try_from(within).unwrap_or(i64::MAX);
                let until = head.at_s.saturating_add(within).saturating_add(COUNT_DUE_S);
                self.counting.insert(id.clone(), until);
            }
            (_, _, _) => {}
        }
        self.last_s = head.at_s;
    }

    /// First records that had no time to be counted before the last record.
    pub(super) fn uncounted(&self) -> u64 {
        let due = |until: &&i64| **until >= self.last_s;
        self.counting.values().filter(due).count() as u64
    }

    /// Calls announced and not over at the end of the log.
    pub(super) fn running(&self) -> u64 {
        self.announced.len() as u64
    }
}
