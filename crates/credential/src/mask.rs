//! Masks secrets that a server sends back.
//!
//! A mask knows a secret as it is, in hexadecimal and in base64, and looks for it in every string, key and number of a
//! message, read without any escape (`view`) and without line breaks (`breaks`). Two steps: a quick look over the raw bytes
//! for the beginnings of patterns and for escapes that may hide one, which finds nothing in nearly every message (`look`);
//! and where it found one, or where the message before ended within a secret, a walk over the strings, each read in full,
//! that decides (`search`).
//!
//! **Cost.** Both steps are linear, whatever the text is and whatever the secrets are: see `automaton`, `filter` and `view`.
//! Tests count steps.
//!
//! **Pieces.** A secret may be cut, by events of a stream or by fragments of text, also within an escape. What ends a string
//! and begins a pattern is masked at once ([`CERTAIN`] bytes or more), and so is what goes on with it in a later string. Keys
//! and numbers are strings here, in the order of the text: a secret may begin in a key and go on in its value. A cut within the first [`CERTAIN`] - 1 bytes lets those through and masks the rest. Nothing is held back, so streams flow
//! as they came.
//!
//! **Not caught:** pieces shorter than [`CERTAIN`] bytes one after the other; encodings other than those named, base64 or
//! hexadecimal of something encoded, compression, encryption, the secret backwards. A server that wants to give its own
//! credential away can; masking is for the many that do so by mistake.

mod automaton;
mod breaks;
pub(crate) mod encode;
mod escape;
mod filter;
mod look;
mod middle;
mod reading;
mod search;
mod steps;
mod view;
mod walk;

use std::{fmt, hash::RandomState};

use bytes::Bytes;

use self::{
    automaton::{Automaton, State},
    encode::Pattern,
    filter::Filter,
    look::Bytes256,
    middle::Middles,
    search::Tail,
};
use crate::{
    error::Fault,
    secret::{SHORTEST, Secret},
};

/// Text that replaces a secret.
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
    /// The bytes that patterns begin with.
    beginnings: Bytes256,
    /// The bytes that hide one of those behind a backslash.
    hidden: Bytes256,
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
    /// The beginning of an escape that came after that.
    tail: Tail,
    /// Places in a message, without indexes, where few bytes are enough to go on with it.
    paths: [u64; 2],
    left: u8,
}

/// The place of a text in a message, without indexes.
#[derive(Debug, Clone, Copy)]
struct At {
    here: u64,
    /// Another place that what begins here may go on at.
    next: u64,
    /// Whether it uses up a string of those that a cut is followed for. Keys and numbers do not: there are many of them
    /// between two fragments of a text.
    counts: bool,
}

impl At {
    fn value(path: u64) -> Self {
        Self {
            here: path,
            next: path,
            counts: true,
        }
    }
}

/// Notation of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// As it is.
    Plainly,
    /// Between the quotes of a JSON string, or as a word of JSON.
    AsJson,
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
        let beginnings = Bytes256::of_beginnings(&patterns);
        Ok(Self {
            filter: Filter::new(&patterns).map_err(|_| Fault::Unsendable)?,
            middles: Middles::new(&patterns, &automaton),
            beginnings,
            hidden: Bytes256::of_escapes(beginnings),
            automaton,
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
        let ranges = self.value(text.as_bytes(), Written::Plainly, At::value(0), cuts);
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
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
