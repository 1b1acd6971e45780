//! Masks a secret that a server sends back.
//!
//! A mask knows a secret as it is, in JSON, percent-encoded, in hexadecimal and in base64, and looks for it in every
//! string, key and number of a message. Two steps: a quick search over the raw bytes for the beginnings of patterns, which
//! finds nothing in nearly every message; and where it found one, or where the message before ended within a secret, a
//! walk over the strings, each decoded, that decides.
//!
//! **Pieces.** A secret may be cut, by events of a stream or by fragments of text. What ends a string and begins a pattern
//! is masked at once ([`CERTAIN`] bytes or more), and so is what goes on with it in a later string. A cut within the first
//! [`CERTAIN`] - 1 bytes lets those through and masks the rest. Nothing is held back, so streams flow as they came.
//!
//! **Not caught:** pieces shorter than [`CERTAIN`] bytes one after the other; encodings other than those named, two of them
//! on top of each other, compression, encryption, the secret backwards. A server that wants to give its own credential away
//! can; masking is for the many that do so by mistake.

pub(crate) mod encode;
mod walk;

use std::{fmt, hash::RandomState, sync::Arc};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use bytes::Bytes;

use self::encode::{Alphabet, Pattern};
use crate::{error::Fault, secret::Secret};

/// What stands in place of a secret.
pub const MASK: &str = "[masked by keepgate]";

/// So many bytes of a pattern at the end of a string are taken for its beginning.
const CERTAIN: usize = 6;
/// The length of the beginnings that are searched for.
const HEAD: usize = 4;
/// A cut is followed for so many strings.
const FOLLOWED: u8 = 64;
/// So many cuts are followed at a time.
const CUTS: usize = 16;

/// What masks the secrets of one source: the present one, and those before it that may still come back.
pub struct Mask {
    patterns: Vec<Pattern>,
    /// The heads of all patterns; `places` says what each is the head of.
    heads: AhoCorasick,
    every_head: AhoCorasick,
    places: Vec<Vec<Place>>,
    /// Whether a head holds a byte that JSON always escapes.
    escaped: bool,
    /// Of paths; one for all messages, so that they can be compared.
    hasher: RandomState,
}

/// Where a head belongs: in which pattern, and how many bytes after its beginning.
#[derive(Debug, Clone, Copy)]
struct Place {
    pattern: usize,
    offset: usize,
}

/// A message without its secrets.
#[derive(Debug)]
pub struct Masked {
    /// The bytes; they have to be judged again.
    pub bytes: Bytes,
    /// How many places were masked.
    pub places: usize,
}

/// The secrets that were cut by the end of a string, in the messages of one stream.
#[derive(Debug, Default)]
pub struct Tails {
    mask: Option<Arc<Mask>>,
    cuts: Vec<Cut>,
}

/// One of them: so much of this pattern has come.
#[derive(Debug, Clone, Copy)]
struct Cut {
    pattern: usize,
    matched: usize,
    /// The place in the message, without indexes.
    path: u64,
    left: u8,
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
        let mut heads: Vec<&[u8]> = Vec::new();
        let mut places: Vec<Vec<Place>> = Vec::new();
        for (pattern, (_, bytes)) in patterns.iter().enumerate() {
            for (offset, head) in bytes.windows(HEAD).take(CERTAIN).enumerate() {
                let place = Place { pattern, offset };
                match heads.iter().position(|known| *known == head) {
                    Some(index) => places
                        .get_mut(index)
                        .into_iter()
                        .for_each(|at| at.push(place)),
                    None => {
                        heads.push(head);
                        places.push(vec![place]);
                    }
                }
            }
        }
        let escaped = heads.iter().any(|head| {
            head.iter()
                .any(|&byte| byte < 0x20 || b"\"\\".contains(&byte))
        });
        let built = |kind| {
            let mut builder = AhoCorasick::builder();
            builder.match_kind(kind).kind(Some(AhoCorasickKind::DFA));
            builder.build(&heads).map_err(|_| Fault::Unsendable)
        };
        Ok(Self {
            heads: built(MatchKind::LeftmostFirst)?,
            every_head: built(MatchKind::Standard)?,
            patterns,
            places,
            escaped,
            hasher: RandomState::new(),
        })
    }

    /// The message `json` with every secret in it masked; `None` if there is none. `tails` carries cuts from one message of
    /// a stream to the next. `json` has to be a JSON text that was judged.
    pub fn message(self: &Arc<Self>, json: &[u8], tails: &mut Tails) -> Option<Masked> {
        tails.belong_to(self);
        if tails.cuts.is_empty() && !self.suspects(json) {
            return None;
        }
        walk::masked(self, json, tails)
    }

    /// A line of text with every secret in it masked; `None` if there is none.
    pub fn line(&self, text: &str) -> Option<String> {
        let ranges = self.found(text.as_bytes(), true);
        if ranges.is_empty() {
            return None;
        }
        let bytes = walk::replaced(text.as_bytes(), &walk::merged(ranges));
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether a head stands anywhere in the message.
    fn suspects(&self, json: &[u8]) -> bool {
        if self.heads.is_match(json) {
            return true;
        }
        // Heads hide behind escapes: those nobody needs to write, and those everybody has to.
        let hides = memchr::memchr_iter(b'\\', json)
            .any(|at| self.escaped || matches!(json.get(at + 1), Some(b'u' | b'/')));
        hides && self.heads.is_match(&*walk::unescaped(json))
    }

    /// The ranges of a text that hold a secret. With `cut_at_end`, the beginning of one that goes on elsewhere counts.
    fn found(&self, text: &[u8], cut_at_end: bool) -> Vec<(usize, usize)> {
        let mut ranges = Vec::new();
        self.search(text, cut_at_end, &mut ranges, &mut |_, _| {});
        ranges
    }

    /// Finds secrets in a text; tells `cut` of each that goes on elsewhere: its pattern and how much of it was there.
    fn search(
        &self,
        text: &[u8],
        cut_at_end: bool,
        ranges: &mut Vec<(usize, usize)>,
        cut: &mut dyn FnMut(usize, usize),
    ) {
        for head in self.every_head.find_overlapping_iter(text) {
            let at = head.start();
            let places = self.places.get(head.pattern().as_usize());
            for place in places.into_iter().flatten() {
                // Past its beginning a pattern counts only where the text begins: the beginning was in another.
                if place.offset > 0 && at > 0 {
                    continue;
                }
                let Some((alphabet, pattern)) = self.patterns.get(place.pattern) else {
                    continue;
                };
                let wanted = pattern.get(place.offset..).unwrap_or_default();
                let rest = text.get(at..).unwrap_or_default();
                let same = common(wanted, rest);
                if same == wanted.len() {
                    ranges.push(extended(text, at, at + same, *alphabet));
                } else if cut_at_end && same == rest.len() && same >= CERTAIN {
                    ranges.push((at, at + same));
                    cut(place.pattern, place.offset + same);
                }
            }
        }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").finish_non_exhaustive()
    }
}

impl Tails {
    /// Forgets cuts of another mask: its patterns are other ones.
    fn belong_to(&mut self, mask: &Arc<Mask>) {
        let same = self
            .mask
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, mask));
        if !same {
            self.mask = Some(Arc::clone(mask));
            self.cuts.clear();
        }
    }

    fn add(&mut self, cut: Cut) {
        if self.cuts.len() == CUTS {
            self.cuts.remove(0);
        }
        self.cuts.push(cut);
    }
}

fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter()
        .zip(other)
        .take_while(|(one, other)| one == other)
        .count()
}

/// The range with neighbours that may hold a part of the secret.
fn extended(text: &[u8], from: usize, to: usize, alphabet: Alphabet) -> (usize, usize) {
    let over = |byte: &&u8| alphabet.extends_over(**byte);
    let before = text.get(..from).unwrap_or_default();
    let after = text.get(to..).unwrap_or_default();
    (
        from - before.iter().rev().take_while(over).count(),
        to + after.iter().take_while(over).count(),
    )
}

#[cfg(test)]
mod tests;
