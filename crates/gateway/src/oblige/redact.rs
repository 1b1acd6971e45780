//! Carries out `redact` and `max_records` on a message: on what is structured and on what is text alike.
//!
//! One walk over the message. Members that MCP itself defines are known by the place they stand in and only their content is
//! looked into; everything else is data, where members are found by name and, below a root (`structuredContent`, `error.data`,
//! the data of a log message, each JSON document in a text), by pointer. Text is decoded before it is looked at, so no way of
//! escaping hides anything. What cannot be looked into where something must be found is withheld.

mod beside;
mod pass;
mod prose;
#[cfg(test)]
mod tests;
mod written;

use std::collections::BTreeSet;

use aho_corasick::{AhoCorasick, MatchKind};
use keepgate_policy::{Obligations, PatternClass, Redact};

use self::pass::Pass;
pub(crate) use self::written::WrittenRules;
use super::{
    pointer::{Places, Pointer},
    text::folded,
};

/// What a decision says of an answer, ready to be carried out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    patterns: Vec<PatternClass>,
    /// Names, folded, and whether the member goes altogether.
    fields: Vec<(String, bool)>,
    pointers: Vec<(Pointer, bool)>,
    /// The cap of every array of records.
    cap: Option<u64>,
    caps: Vec<(Pointer, u64)>,
}

/// A message with the obligations carried out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rewritten {
    /// The bytes; they have to be judged again.
    pub(crate) bytes: Vec<u8>,
    /// How many places were redacted or withheld.
    pub(crate) redacted: usize,
    /// How many records were cut.
    pub(crate) cut: u64,
}

/// An obligation names a place by what is no pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoPointer;

impl Rules {
    /// The rules of a decision; `None` if it asks for nothing that is done to answers.
    pub(crate) fn of(obligations: &Obligations) -> Result<Option<Self>, NoPointer> {
        let mut rules = Self::default();
        for redaction in &obligations.redact {
            match &redaction.what {
                Redact::Result(text) => {
                    let pointer = Pointer::parse(text).ok_or(NoPointer)?;
                    rules.pointers.push((pointer, redaction.remove));
                }
                Redact::Field(name) => rules.fields.push((folded(name), redaction.remove)),
                Redact::Pattern(class) => rules.patterns.push(*class),
            }
        }
        for cap in &obligations.max_records {
            match &cap.result {
                Some(text) => {
                    let pointer = Pointer::parse(text).ok_or(NoPointer)?;
                    rules.caps.push((pointer, cap.max));
                }
                None => rules.cap = Some(rules.cap.map_or(cap.max, |least| least.min(cap.max))),
            }
        }
        let asks = rules.finds() || !rules.pointers.is_empty() || rules.caps_something();
        Ok(asks.then_some(rules))
    }

    /// Carries the rules out on one JSON-RPC message that was judged; `None` if nothing in it is changed.
    pub(crate) fn message(&self, message: &[u8]) -> Option<Rewritten> {
        let (mut done, values) = Pass::over(self, None).message(message)?;
        // What was redacted where it is structured must not stand in the prose beside it.
        if let Some(known) = Known::of(&values)
            && let Some((again, _)) = Pass::over(self, Some(&known)).message(&done.bytes)
        {
            done.bytes = again.bytes;
            done.redacted += again.redacted;
        }
        Some(done)
    }

    /// Whether something is to be found wherever it stands.
    fn finds(&self) -> bool {
        !self.patterns.is_empty() || !self.fields.is_empty()
    }

    fn caps_something(&self) -> bool {
        self.cap.is_some() || !self.caps.is_empty()
    }

    fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        let redacted = self.pointers.iter().map(|(pointer, _)| pointer);
        redacted.chain(self.caps.iter().map(|(pointer, _)| pointer))
    }

    fn root(&self) -> Places {
        Places::root(self.pointers())
    }

    fn enter(&self, places: &Places, name: &str) -> Places {
        if places.is_dead() {
            return Places::default();
        }
        places.enter(self.pointers(), name)
    }

    /// What becomes of the value at `places`.
    fn fate(&self, places: &Places) -> Fate {
        let named = places.named(self.pointers()).zip(&self.pointers);
        let removes = named.filter_map(|(named, (_, remove))| named.then_some(*remove));
        removes.map(Fate::of).max().unwrap_or(Fate::Keep)
    }

    /// What becomes of a member by its name.
    fn fate_of(&self, name: &str) -> Fate {
        if self.fields.is_empty() {
            return Fate::Keep;
        }
        let name = folded(name);
        let named = self.fields.iter().filter(|(field, _)| *field == name);
        named
            .map(|(_, remove)| Fate::of(*remove))
            .max()
            .unwrap_or(Fate::Keep)
    }

    /// How many items the array at `places` may have.
    fn longest(&self, places: &Places) -> Option<u64> {
        let capped = places.named(self.pointers()).skip(self.pointers.len());
        let caps = capped.zip(&self.caps);
        caps.filter_map(|(named, (_, max))| named.then_some(*max))
            .min()
    }
}

/// What becomes of a value; the later of two is the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Keep,
    Replace,
    Remove,
}

impl Fate {
    fn of(remove: bool) -> Self {
        if remove { Self::Remove } else { Self::Replace }
    }
}

/// So many of the values that were redacted are looked for elsewhere.
const VALUES_MOST: usize = 2048;

/// The values that were redacted.
#[derive(Debug, Default)]
struct Values {
    known: BTreeSet<String>,
    /// There were more: what cannot be told to be without them is withheld.
    more: bool,
}

impl Values {
    fn note(&mut self, value: &str) {
        if self.known.contains(value) {
            return;
        }
        if self.known.len() < VALUES_MOST {
            self.known.insert(value.to_owned());
        } else {
            self.more = true;
        }
    }
}

/// An automaton for values that were redacted.
#[derive(Debug)]
struct Known {
    values: AhoCorasick,
    more: bool,
}

impl Known {
    fn of(values: &Values) -> Option<Self> {
        if values.known.is_empty() {
            return None;
        }
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::LeftmostLongest);
        Some(Self {
            values: builder.build(&values.known).ok()?,
            more: values.more,
        })
    }
}
