//! The input of one question, built as it is read.
//!
//! Most calls are decided by a few fields. Those are built, or taken over, when a rule first asks for them; the whole
//! is put together only for rules that need the evaluator.

use regorus::Value;
use regorus::value::Object;

use super::{InputError, Part, Wanted, Words, done, put};
use crate::facts::{Facts, Subject};

/// The input of one question, or of one list's items in turn.
pub(crate) struct Document<'a> {
    source: Source<'a>,
    parts: [Slot; Part::ALL.len()],
    /// Whether the evaluator has it.
    pub(crate) handed: bool,
}

enum Source<'a> {
    /// The facts, with the subject that stands in place of theirs.
    Facts(&'a Words, &'a Facts<'a>, Subject<'a>),
    /// As it came, for what is no call: warming up, and inputs that were recorded.
    Whole(Value),
}

#[derive(Clone)]
enum Slot {
    Unbuilt,
    Absent,
    Built(Value),
}

impl<'a> Document<'a> {
    /// The input these facts make.
    pub(crate) fn new(words: &'a Words, facts: &'a Facts<'a>) -> Self {
        Self::from(Source::Facts(words, facts, facts.subject))
    }

    /// An input as it stands.
    pub(crate) fn whole(value: Value) -> Self {
        Self::from(Source::Whole(value))
    }

    fn from(source: Source<'a>) -> Self {
        Self {
            source,
            parts: [const { Slot::Unbuilt }; Part::ALL.len()],
            handed: false,
        }
    }

    /// Goes on to another item of a list: all but its subject stays.
    pub(crate) fn about(&mut self, subject: &Subject<'a>) {
        if let Source::Facts(_, _, held) = &mut self.source {
            *held = *subject;
        }
        for part in Part::SUBJECT {
            if let Some(slot) = self.parts.get_mut(part as usize) {
                *slot = Slot::Unbuilt;
            }
        }
        self.handed = false;
    }

    /// One part, built if it has not been yet.
    pub(crate) fn part(&mut self, part: Part) -> Result<Option<&Value>, InputError> {
        let Some(slot) = self.parts.get_mut(part as usize) else {
            return Ok(None);
        };
        if let Slot::Unbuilt = slot {
            let built = match &self.source {
                Source::Facts(words, facts, subject) => words.part(facts, subject, part)?,
                Source::Whole(Value::Object(object)) => {
                    object.get(&Value::from(part.word())).cloned()
                }
                Source::Whole(
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_)
                    | Value::Set(_)
                    | Value::Undefined,
                ) => None,
            };
            *slot = built.map_or(Slot::Absent, Slot::Built);
        }
        Ok(match slot {
            Slot::Built(value) => Some(value),
            Slot::Absent | Slot::Unbuilt => None,
        })
    }

    /// The whole, as far as it is wanted.
    pub(crate) fn value(&mut self, wanted: Wanted) -> Result<Value, InputError> {
        let words = match &self.source {
            Source::Facts(words, _, _) => *words,
            Source::Whole(value) => return Ok(value.clone()),
        };
        let mut input = Object::new();
        for part in Part::ALL.into_iter().filter(|part| wanted.has(*part)) {
            if let Some(value) = self.part(part)? {
                put(&mut input, words.key(part), value.clone());
            }
        }
        Ok(done(input))
    }
}
