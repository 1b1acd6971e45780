//! Masks secrets that a server sends back.
//!
//! A mask knows a secret as it is, in JSON, percent-encoded, in hexadecimal and in base64, wrapped over lines or not, and
//! looks for it in every string, key and number of a message. Two steps: a quick look over the raw bytes for the beginnings
//! of patterns, which finds nothing in nearly every message; and where it found one, or where the message before ended
//! within a secret, a walk over the strings, each decoded, that decides.
//!
//! **Cost.** Both steps are linear, whatever the text is and whatever the secrets are: see `automaton` and `filter`. Tests
//! count steps.
//!
//! **Pieces.** A secret may be cut, by events of a stream or by fragments of text. What ends a string and begins a pattern
//! is masked at once ([`CERTAIN`] bytes or more), and so is what goes on with it in a later string. A cut within the first
//! [`CERTAIN`] - 1 bytes lets those through and masks the rest. Nothing is held back, so streams flow as they came.
//!
//! **Not caught:** pieces shorter than [`CERTAIN`] bytes one after the other; encodings other than those named, two of them
//! on top of each other, compression, encryption, the secret backwards. A server that wants to give its own credential away
//! can; masking is for the many that do so by mistake.

mod automaton;
mod breaks;
pub(crate) mod encode;
mod filter;
mod middle;
mod steps;
mod walk;

use std::{fmt, hash::RandomState};

use bytes::Bytes;

use self::{
    automaton::{Automaton, ROOT, State},
    breaks::Joined,
    encode::{Alphabet, Pattern},
    filter::Filter,
    middle::Middles,
};
use crate::{
    error::Fault,
    secret::{SHORTEST, Secret},
};

/// What stands in place of a secret.
pub const MASK: &str = "[masked by keepgate]";

/// So many bytes of a pattern at the end of a string are taken for its beginning.
const CERTAIN: usize = 6;
/// So many bytes at the beginning of a string are taken for the middle of a pattern, if the rest of it follows.
const MIDDLE: usize = 4;
/// A cut is followed for so many strings.
const FOLLOWED: u8 = 64;
/// So many cuts are followed at a time.
const CUTS: usize = 8;

/// Secrets, ready to be looked for.
pub(crate) struct Mask {
    automaton: Automaton,
    filter: Filter,
    middles: Middles,
    /// Whether a pattern begins with a byte that JSON always escapes.
    escaped: bool,
    /// Of paths; one for all messages, so that they can be compared.
    hasher: RandomState,
}

/// A message without its secrets.
#[derive(Debug)]
pub struct Masked {
    /// The bytes; they have to be judged again.
    pub bytes: Bytes,
    /// How many places were masked.
    pub places: usize,
}

/// A secret that was cut by the end of a string: so much of it has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    state: State,
    /// The place in the message, without indexes.
    path: u64,
    left: u8,
}

/// A range that holds a secret.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: usize,
    to: usize,
    /// A neighbour of the same alphabet may hold bits of it.
    is_base64: bool,
}

/// The part at the beginning of a text that goes on with a pattern which began elsewhere.
#[derive(Debug, Clone, Copy, Default)]
struct Followed {
    bytes: usize,
    /// The pattern goes on after the text.
    open: Option<State>,
}

impl Mask {
    /// A mask for `secrets`; each has at least [`crate::SHORTEST`] bytes.
    ///
    /// # Errors
    /// [`Fault::Unsendable`] if there are too many bytes for an automaton: what cannot be masked is not used.
    pub(crate) fn new<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Result<Self, Fault> {
        let mut patterns: Vec<Pattern> = Vec::new();
        for secret in secrets {
            patterns.extend(encode::patterns(secret.expose()));
        }
        if patterns.iter().any(|(_, bytes)| bytes.len() < SHORTEST) {
            return Err(Fault::TooShort);
        }
        let automaton = Automaton::new(&patterns).map_err(|_| Fault::Unsendable)?;
        let begins = || patterns.iter().map(|(_, bytes)| bytes.as_slice());
        let escaped = begins().any(|pattern| {
            let head = pattern.iter().take(CERTAIN + MIDDLE);
            head.clone()
                .any(|&byte| byte < 0x20 || b"\"\\".contains(&byte))
        });
        Ok(Self {
            filter: Filter::new(begins()).map_err(|_| Fault::Unsendable)?,
            middles: Middles::new(begins(), &automaton),
            automaton,
            escaped,
            hasher: RandomState::new(),
        })
    }

    /// The message `json` with every secret in it masked; `None` if there is none. `cuts` carries cuts from one message of a
    /// stream to the next. `json` has to be valid JSON.
    pub(crate) fn message(&self, json: &[u8], cuts: &mut Vec<Cut>) -> Option<Masked> {
        if cuts.is_empty() && !self.suspects(json) {
            return None;
        }
        walk::masked(self, json, cuts)
    }

    /// A line of text with every secret in it masked; `None` if there is none. `cuts` carries cuts from one line to the next.
    pub(crate) fn line(&self, text: &str, cuts: &mut Vec<Cut>) -> Option<String> {
        let ranges = self.value(text.as_bytes(), 0, cuts);
        if ranges.is_empty() {
            return None;
        }
        let bytes = walk::replaced(text.as_bytes(), &ranges);
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Bytes of memory.
    pub(crate) fn size(&self) -> usize {
        self.automaton.size() + self.filter.size() + self.middles.size()
    }

    /// Whether a pattern may stand anywhere in the message.
    fn suspects(&self, json: &[u8]) -> bool {
        if self.filter.find(json, 0).is_some() {
            return true;
        }
        match self.seams(json) {
            Seams::Suspect => true,
            Seams::Clear => false,
            // Beginnings hide behind escapes: those nobody needs to write, and those everybody has to.
            Seams::Hidden => {
                let plain = walk::unescaped(json);
                let joined = Joined::new(&plain);
                let begins = |at: usize| self.begins(joined.text.get(at + 1..).unwrap_or_default());
                self.filter.find(&joined.text, 0).is_some()
                    || memchr::memchr_iter(b'"', &joined.text).any(begins)
            }
        }
    }

    /// Looks at what the filter cannot see in JSON as it is written: where strings begin, and over line breaks.
    fn seams(&self, json: &[u8]) -> Seams {
        let (mut at, mut inside) = (0, false);
        while let Some(step) = memchr::memchr2(b'"', b'\\', json.get(at..).unwrap_or_default()) {
            steps::add(step / 16 + 1);
            at += step;
            match json.get(at..).unwrap_or_default() {
                [b'"', string @ ..] => {
                    inside = !inside;
                    if inside && self.begins(string) {
                        return Seams::Suspect;
                    }
                    at += 1;
                }
                [_, b'n' | b'r' | b'\\', ..] => match self.breaks(json, at) {
                    Some(bytes) => at += bytes,
                    None => return Seams::Hidden,
                },
                // Nobody needs to write these.
                [_, b'u' | b'/', ..] => return Seams::Hidden,
                _ if self.escaped => return Seams::Hidden,
                _ => at += 2,
            }
        }
        Seams::Clear
    }

    /// The length of what begins with backslashes at `at`; `None` if its escapes have to be read to decide.
    fn breaks(&self, json: &[u8], at: usize) -> Option<usize> {
        let length = breaks::length(json.get(at..).unwrap_or_default());
        let before = at.checked_sub(1).and_then(|at| json.get(at));
        let after = json.get(at + length.bytes);
        if length.is_break {
            let joins = before
                .zip(after)
                .is_some_and(|(one, other)| self.filter.joins(*one, *other));
            return (!joins).then_some(length.bytes);
        }
        // Half of the backslashes are escaped by the others; an odd one escapes what follows.
        let hides = self.escaped || matches!(after, Some(b'u' | b'/'));
        (!hides).then_some(length.bytes + length.bytes % 2)
    }

    /// Whether a string begins with what may be the middle of a pattern.
    fn begins(&self, string: &[u8]) -> bool {
        steps::add(1);
        let Some(head) = string.first_chunk::<MIDDLE>() else {
            return false;
        };
        if !head.contains(&b'\\') {
            return self.middles.holds(*head);
        }
        let (mut head, mut have, mut at) = ([0; MIDDLE], 0, 0);
        while let Some(slot) = head.get_mut(have) {
            match string.get(at) {
                None | Some(b'"') => return false,
                Some(b'\\') => {
                    let length = breaks::length(string.get(at..).unwrap_or_default());
                    if !length.is_break {
                        return false;
                    }
                    at += length.bytes;
                }
                Some(byte) => {
                    *slot = *byte;
                    have += 1;
                    at += 1;
                }
            }
        }
        self.middles.holds(head)
    }

    /// The ranges of a key or number that hold a secret: nothing goes on from one to another.
    fn whole(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let joined = Joined::new(text);
        let (ranges, _) = self.search(&joined.text);
        finished(&joined, ranges)
    }

    /// The ranges of a string value at `path` that hold a secret: what it holds, what goes on elsewhere, and what began
    /// elsewhere.
    fn value(&self, text: &[u8], path: u64, cuts: &mut Vec<Cut>) -> Vec<(usize, usize)> {
        if text.is_empty() {
            return Vec::new();
        }
        let joined = Joined::new(text);
        let (mut ranges, last) = self.search(&joined.text);
        let mut open: Vec<State> = Vec::new();
        let length = joined.text.len();
        let depth = self.automaton.depth_of(last);
        if depth >= CERTAIN {
            add(&mut ranges, (length - depth, length), false);
            open.push(last);
        }
        let mut begun = 0;
        let mut before: Option<(State, Followed)> = None;
        cuts.retain_mut(|cut| {
            // The same beginning in many places is followed once.
            let same = before.filter(|(state, _)| *state == cut.state);
            let (_, followed) = *before.insert(
                same.unwrap_or_else(|| (cut.state, self.follow(cut.state, &joined.text, 0))),
            );
            // Elsewhere in the message a byte or two may be the same by chance.
            if followed.bytes > 0 && (cut.path == path || followed.bytes >= CERTAIN) {
                begun = begun.max(followed.bytes);
                open.extend(followed.open);
                return false;
            }
            cut.left -= 1;
            cut.left > 0
        });
        if let Some(head) = joined.text.first_chunk::<MIDDLE>() {
            for state in self.middles.states(*head) {
                let followed = self.follow(state, &joined.text, MIDDLE);
                if followed.open.is_none() || followed.bytes >= CERTAIN {
                    begun = begun.max(followed.bytes);
                    open.extend(followed.open);
                }
            }
        }
        if begun > 0 {
            // In front, so that the ranges stay in order.
            let rest = std::mem::take(&mut ranges);
            add(&mut ranges, (0, begun), false);
            rest.iter()
                .for_each(|range| add(&mut ranges, (range.from, range.to), range.is_base64));
        }
        for state in open {
            follow_later(
                cuts,
                Cut {
                    state,
                    path,
                    left: FOLLOWED,
                },
            );
        }
        finished(&joined, ranges)
    }

    /// Finds every secret in a text, and what of one stands at its end.
    fn search(&self, text: &[u8]) -> (Vec<Range>, State) {
        let mut ranges = Vec::new();
        let (mut state, mut at) = (ROOT, 0);
        loop {
            if state == ROOT {
                match self.filter.find(text, at) {
                    Some(next) => at = next,
                    None => return (ranges, ROOT),
                }
            }
            let Some(&byte) = text.get(at) else {
                return (ranges, self.automaton.open(state));
            };
            state = self.automaton.next(state, byte);
            at += 1;
            let length = usize::from(self.automaton.ends_of(state));
            if length > 0 {
                add(
                    &mut ranges,
                    (at - length, at),
                    self.automaton.is_base64(state),
                );
            }
        }
    }

    /// Goes on with what `state` stands for over a text of which `at` bytes are in it already.
    fn follow(&self, mut state: State, text: &[u8], mut at: usize) -> Followed {
        let mut followed = Followed::default();
        while let Some(&byte) = text.get(at) {
            state = self.automaton.next(state, byte);
            at += 1;
            if usize::from(self.automaton.ends_of(state)) > at {
                followed.bytes = at;
            }
            if self.automaton.depth_of(state) <= at {
                return followed;
            }
        }
        let open = self.automaton.open(state);
        if self.automaton.depth_of(open) > at {
            followed = Followed {
                bytes: at,
                open: Some(open),
            };
        }
        followed
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").finish_non_exhaustive()
    }
}

/// Whether what the filter does not see holds a beginning.
enum Seams {
    Clear,
    Suspect,
    /// Undecided until escapes are read.
    Hidden,
}

/// Adds a range whose end is not before that of any known, those that touch made one: so many hold no memory.
fn add(ranges: &mut Vec<Range>, (mut from, mut to): (usize, usize), mut is_base64: bool) {
    while let Some(last) = ranges.last()
        && from <= last.to
    {
        steps::add(1);
        from = from.min(last.from);
        to = to.max(last.to);
        is_base64 |= last.is_base64;
        ranges.pop();
    }
    ranges.push(Range {
        from,
        to,
        is_base64,
    });
}

/// The ranges in the text as it was, each with the neighbours that may hold a part of its secret.
fn finished(joined: &Joined<'_>, ranges: Vec<Range>) -> Vec<(usize, usize)> {
    let mut grown: Vec<Range> = Vec::with_capacity(ranges.len());
    for Range {
        from,
        to,
        is_base64,
    } in ranges
    {
        let floor = grown.last().map_or(0, |last| last.to);
        if !is_base64 {
            add(&mut grown, (from, to), is_base64);
            continue;
        }
        let over = |byte: &&u8| Alphabet::Base64.extends_over(**byte);
        // Not into another line, and not over what is masked already.
        let (begin, _) = joined.line(from);
        let (_, end) = joined.line(to.saturating_sub(1));
        let before = joined.text.get(begin.max(floor)..from).unwrap_or_default();
        let after = joined.text.get(to.max(floor)..end).unwrap_or_default();
        let before = before.iter().rev().take_while(over).count();
        let after = after.iter().take_while(over).count();
        steps::add(before + after);
        add(&mut grown, (from - before, to.max(floor) + after), true);
    }
    grown
        .into_iter()
        .map(|range| joined.range((range.from, range.to)))
        .collect()
}

/// Notes a cut; the oldest makes room.
fn follow_later(cuts: &mut Vec<Cut>, cut: Cut) {
    cuts.retain(|known| known.state != cut.state || known.path != cut.path);
    if cuts.len() == CUTS {
        cuts.remove(0);
    }
    cuts.push(cut);
}

#[cfg(test)]
mod tests;
