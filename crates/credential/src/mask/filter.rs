//! The quick look for the first bytes of any pattern in a text.
//!
//! For a few secrets an automaton over those bytes, which the processor's vector instructions speed up. For many a table that
//! gives for each hash of four bytes how far on the next place is that may end a beginning (Wu and Manber 1994): its cost hardly
//! depends on the number of secrets. Both hold the first bytes only, the automaton in memory that is not overwritten.

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use zeroize::Zeroizing;

use super::{
    CERTAIN,
    automaton::TooLarge,
    encode::{self, Pattern},
    steps,
};

/// The bytes that are hashed.
const BLOCK: usize = 4;
/// Distance to the next look where the block is of no beginning.
const FAR: u8 = 3;
/// So many beginnings are few.
const FEW: usize = 128;

pub(super) struct Filter {
    kind: Kind,
    /// A bit for each two bytes that follow each other in a beginning.
    pairs: Vec<u64>,
}

enum Kind {
    Few(AhoCorasick),
    Many(Table),
}

struct Table {
    /// By hash: distance to where a beginning may end.
    shifts: Vec<u8>,
    right: u32,
    /// The beginnings, sorted.
    heads: Zeroizing<Vec<u64>>,
}

impl Filter {
    /// Over the first [`CERTAIN`] bytes of each pattern, in every way they may be written.
    pub(super) fn new(patterns: &[Pattern]) -> Result<Self, TooLarge> {
        let mut heads: Vec<[u8; CERTAIN]> = patterns.iter().flat_map(encode::heads).collect();
        heads.sort_unstable();
        heads.dedup();
        let mut pairs = vec![0; 1024];
        for pair in heads.iter().flat_map(|head| head.windows(2)) {
            if let [one, other] = pair {
                let (word, bit) = place(*one, *other);
                if let Some(word) = pairs.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        let kind = if heads.len() > FEW {
            Kind::Many(Table::new(&heads))
        } else {
            let mut builder = AhoCorasick::builder();
            builder.match_kind(MatchKind::LeftmostFirst);
            builder.kind(Some(AhoCorasickKind::DFA));
            Kind::Few(builder.build(&heads).map_err(|_| TooLarge)?)
        };
        Ok(Self { kind, pairs })
    }

    /// The next place at or after `from` where a pattern begins with [`CERTAIN`] bytes or more.
    pub(super) fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        if from > text.len() {
            return None;
        }
        match &self.kind {
            Kind::Few(heads) => {
                let found = heads.find(Input::new(text).span(from..text.len()));
                let at = found.map(|found| found.start());
                steps::add(at.unwrap_or(text.len()) - from + CERTAIN);
                at
            }
            Kind::Many(table) => table.find(text, from),
        }
    }

    /// Whether two bytes may follow each other in the first [`CERTAIN`] bytes of a pattern.
    pub(super) fn joins(&self, one: u8, other: u8) -> bool {
        let (word, bit) = place(one, other);
        self.pairs.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let kind = match &self.kind {
            Kind::Few(heads) => heads.memory_usage(),
            Kind::Many(table) => {
                table.shifts.capacity() + table.heads.capacity() * size_of::<u64>()
            }
        };
        kind + self.pairs.capacity() * size_of::<u64>()
    }
}

fn place(one: u8, other: u8) -> (usize, u64) {
    let pair = u16::from_le_bytes([one, other]);
    (usize::from(pair >> 6), 1 << (pair & 63))
}

impl Table {
    fn new(heads: &[[u8; CERTAIN]]) -> Self {
        // One block in thirty-two or fewer, so that chance seldom looks like a beginning; what fits the caches.
        let bits = (heads.len() * 32).next_power_of_two().ilog2().clamp(12, 20);
        let mut table = Self {
            shifts: vec![FAR; 1 << bits],
            right: 32 - bits,
            heads: Zeroizing::new(Vec::with_capacity(heads.len())),
        };
        for head in heads {
            table.heads.push(number(head));
            for (block, shift) in head.windows(BLOCK).rev().zip(0..) {
                let block = block.first_chunk().copied().unwrap_or_default();
                let hash = hash(block, table.right);
                if let Some(least) = table.shifts.get_mut(hash) {
                    *least = shift.min(*least);
                }
            }
        }
        table.heads.sort_unstable();
        table
    }

    fn shift(&self, block: [u8; BLOCK]) -> u8 {
        let hash = hash(block, self.right);
        self.shifts.get(hash).copied().unwrap_or_default()
    }

    fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            let rest = text.get(at..)?;
            // Four places at once: each answer alone would wait for memory.
            if let Some(ahead) = rest.first_chunk::<15>() {
                steps::add(4);
                let [_, _, a, b, c, d, e, f, g, h, i, j, k, l, m] = *ahead;
                let far = self.shift([a, b, c, d])
                    & self.shift([d, e, f, g])
                    & self.shift([g, h, i, j])
                    & self.shift([j, k, l, m]);
                if far == FAR {
                    at += 12;
                    continue;
                }
            }
            steps::add(1);
            let head = rest.first_chunk::<CERTAIN>()?;
            let [_, _, a, b, c, d] = *head;
            match self.shift([a, b, c, d]) {
                0 if self.heads.binary_search(&number(head)).is_ok() => return Some(at),
                0 => at += 1,
                shift => at += usize::from(shift),
            }
        }
    }
}

fn number(head: &[u8; CERTAIN]) -> u64 {
    let [a, b, c, d, e, f] = *head;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// Fibonacci hashing: the golden ratio spreads.
fn hash(block: [u8; BLOCK], right: u32) -> usize {
    (u32::from_le_bytes(block).wrapping_mul(0x9e37_79b1) >> right) as usize
}
