//! Member `repeat`: what a record has to do with equal ones.

use super::moment::{TIMESTAMP, timestamp_text};
use super::{
    super::{Repeat, Scope},
    Object,
};

/// Member `repeat` as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RepeatLine<'a> {
    pub(crate) count: Option<u64>,
    pub(crate) first: Option<&'a str>,
    pub(crate) last: Option<&'a str>,
    pub(crate) scope: Scope,
    pub(crate) within_s: Option<u64>,
}

/// The member of a record; `ends` holds the text of its times.
pub(super) fn repeat_of(repeat: Repeat, ends: &mut [[u8; TIMESTAMP]; 2]) -> RepeatLine<'_> {
    match repeat {
        Repeat::Opened { within, scope } => RepeatLine {
            count: None,
            first: None,
            last: None,
            scope,
            within_s: Some(within.as_secs()),
        },
        Repeat::Counted {
            count,
            first,
            last,
            scope,
        } => {
            let [begin, end] = ends;
            RepeatLine {
                count: Some(count),
                first: Some(timestamp_text(first, begin)),
                last: Some(timestamp_text(last, end)),
                scope,
                within_s: None,
            }
        }
    }
}

/// Writes the members in the order of their names.
pub(super) fn write_repeat(repeat: &RepeatLine<'_>, object: &mut Object<'_>) {
    object.number("count", repeat.count);
    object.optional("first", repeat.first);
    object.optional("last", repeat.last);
    object.string("scope", repeat.scope.as_str());
    object.number("within_s", repeat.within_s);
}
