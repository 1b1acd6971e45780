//! What a record says of an answer, where policy wants more than how it ended.

use std::borrow::Cow;

use keepgate_audit::Outcome;
use keepgate_call::{Call, Detail};
use keepgate_mcp::{json::Raw, message::Response};

use crate::oblige;

/// The most names of a result's members.
const KEYS_MOST: usize = 32;
/// The longest of them, in bytes.
const KEY_LONGEST: usize = 128;

/// The shape of an answer as it was released.
#[derive(Default)]
pub(super) struct Shape<'a> {
    keys: Vec<Cow<'a, str>>,
    records: Option<u64>,
    output: Option<&'a str>,
}

impl<'a> Shape<'a> {
    /// As much as policy wants of the answer to `call`.
    pub(super) fn of(call: &Call, response: Option<&'a Response>) -> Self {
        let detail = call.carried.detail();
        let said = response.and_then(|response| response.result().or_else(|| response.error()));
        let (Some(said), true) = (said, detail > Detail::Metadata) else {
            return Self::default();
        };
        let keys = said.members().filter_map(|(key, _)| key.string());
        let keys = keys.filter(|key| key.len() <= KEY_LONGEST);
        Self {
            keys: keys.take(KEYS_MOST).collect(),
            records: response.and_then(Response::result).map(oblige::records),
            output: (detail == Detail::Full).then(|| Raw::as_str(said)),
        }
    }

    /// Adds it to how the call ended, with what was taken from the answer.
    pub(super) fn add<'b>(&'b self, call: &Call, ending: &mut Outcome<'b>) {
        ending.keys = &self.keys;
        ending.records = self.records;
        ending.output = self.output;
        let some = |count: u64| (count > 0).then_some(count);
        ending.redacted = some(call.carried.redacted());
        ending.records_cut = some(call.carried.cut());
    }
}
