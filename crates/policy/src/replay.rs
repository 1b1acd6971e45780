//! What a candidate would have decided of recorded calls.
//!
//! Each recorded input is judged again, and the answer compared with the recorded one. A change widens (something may be
//! done that could not be), narrows, or both. A record whose input lacks something the candidate reads says nothing, and is
//! counted as such: it never passes for one that did not change.

mod compare;

use std::collections::BTreeMap;

use serde::Serialize;

use self::compare::compared;
use crate::event;
use crate::mask;
use crate::policy::Policy;
use crate::recorded::Recorded;

/// How many examples are kept of each kind.
const EXAMPLES: usize = 5;

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// Revision of the candidate.
    pub revision: String,
    /// Records read.
    pub total: usize,
    /// Records with the same decision.
    pub same: usize,
    /// Of those, records with other reasons for it.
    pub other_reasons: usize,
    /// Records with a decision that allows something more.
    pub widened: usize,
    /// Records with a decision that allows something less.
    pub narrowed: usize,
    /// Records that could not be replayed.
    pub not_replayed: usize,
    /// What changed, by kind: `deny -> allow`.
    pub changes: BTreeMap<String, Changes>,
    /// Why records could not be replayed, with some of their ids.
    pub reasons: BTreeMap<String, Examples>,
}

/// All changes of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// How many.
    pub count: usize,
    /// How many of them widen.
    pub widened: usize,
    /// How many of them narrow.
    pub narrowed: usize,
    /// How many by what was called.
    pub by_tool: BTreeMap<String, usize>,
    /// How many by who called.
    pub by_caller: BTreeMap<String, usize>,
    /// Some of them.
    pub examples: Vec<Example>,
}

/// One changed decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The decision's id.
    pub id: String,
    /// Who called.
    pub caller: String,
    /// What was called.
    pub tool: String,
    /// The codes it was decided for.
    pub before: Vec<String>,
    /// The codes the candidate has.
    pub after: Vec<String>,
    /// What changed beside the effect: obligations, approvals.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// Records of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Examples {
    /// How many.
    pub count: usize,
    /// The ids of some.
    pub ids: Vec<String>,
}

/// A replay in a word. What widens outweighs what could not be replayed, and that what narrows: whoever lets a change pass
/// because it only narrows must know that nothing was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every decision stays.
    Same,
    /// Something may be done that could not be.
    Widened,
    /// Something may not be done that could be, and nothing else changed.
    Narrowed,
    /// Nothing was seen to widen, but not every record could be replayed.
    Incomplete,
}

impl Replay {
    /// The replay in a word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.widened > 0 {
            Verdict::Widened
        } else if self.not_replayed > 0 {
            Verdict::Incomplete
        } else if self.narrowed > 0 {
            Verdict::Narrowed
        } else {
            Verdict::Same
        }
    }
}

/// Judges every line of a decision log again.
#[must_use]
pub fn replay<'a>(candidate: &Policy, lines: impl IntoIterator<Item = &'a str>) -> Replay {
    let reads = candidate.reads();
    let mut replay = Replay {
        revision: candidate.revision().to_string(),
        ..Replay::default()
    };
    for line in lines.into_iter().filter(|line| !line.trim().is_empty()) {
        replay.total += 1;
        match Recorded::parse(line) {
            Ok(recorded) => replay.take(candidate, &reads, &recorded),
            Err(_) => replay.not_replayed("not readable", ""),
        }
    }
    replay
}

impl Replay {
    fn take(&mut self, candidate: &Policy, reads: &[Vec<String>], recorded: &Recorded) {
        let (Some(input), Some(before)) = (recorded.input_value(), recorded.result()) else {
            return self.not_replayed("input or result is left out", recorded.id());
        };
        let left_out = recorded.left_out();
        if let Some(missed) = left_out.iter().find(|pointer| is_read(pointer, reads)) {
            let why = format!(
                "`{}` is left out, and the candidate reads it",
                named(missed)
            );
            return self.not_replayed(&why, recorded.id());
        }
        let Some(decision) = candidate.judge_input(input) else {
            return self.not_replayed("no input of a decision", recorded.id());
        };
        let after = event::result(&decision);
        let Some(compared) = compared(before, &after) else {
            return self.not_replayed("a result of an unknown form", recorded.id());
        };
        if !compared.widens && !compared.narrows {
            self.same += 1;
            self.other_reasons += usize::from(compared.before != compared.after);
            return;
        }
        self.widened += usize::from(compared.widens);
        self.narrowed += usize::from(compared.narrows);
        let (caller, tool) = (recorded.caller().to_owned(), recorded.tool());
        let changes = self.changes.entry(compared.kind).or_default();
        changes.count += 1;
        changes.widened += usize::from(compared.widens);
        changes.narrowed += usize::from(compared.narrows);
        *changes.by_tool.entry(tool.clone()).or_default() += 1;
        *changes.by_caller.entry(caller.clone()).or_default() += 1;
        if changes.examples.len() < EXAMPLES {
            changes.examples.push(Example {
                id: recorded.id().to_owned(),
                caller,
                tool,
                before: compared.before,
                after: compared.after,
                details: compared.details,
            });
        }
    }

    fn not_replayed(&mut self, why: &str, id: &str) {
        self.not_replayed += 1;
        let examples = self.reasons.entry(why.to_owned()).or_default();
        examples.count += 1;
        if examples.ids.len() < EXAMPLES && !id.is_empty() {
            examples.ids.push(id.to_owned());
        }
    }
}

/// Whether a rule reads a part of the input, something in it, or something it is in.
fn is_read(pointer: &str, reads: &[Vec<String>]) -> bool {
    let Some(steps) = mask::steps(pointer) else {
        return true;
    };
    let place = steps.get(1..).unwrap_or_default();
    reads
        .iter()
        .any(|read| place.starts_with(read) || read.starts_with(place))
}

/// A pointer as authors write the place.
fn named(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

#[cfg(test)]
mod tests;
