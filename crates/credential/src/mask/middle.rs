//! The middles of patterns: what a string begins with when the first bytes of a secret were in the string before.

use zeroize::Zeroizing;

use super::{
    CERTAIN, MIDDLE,
    automaton::{Automaton, State},
    encode::{Alphabet, Pattern},
};

/// The bits that are asked first: as many as fit a near cache for a few secrets.
const BITS: std::ops::RangeInclusive<u32> = 10..=20;

pub(super) struct Middles {
    /// A bit for each hash: most strings begin with nothing of ours.
    bits: Vec<u64>,
    right: u32,
    /// Four bytes of a pattern after the first to the sixth, which may have been cut within its escape, and the state after them; sorted.
    known: Zeroizing<Vec<(u32, State)>>,
}

impl Middles {
    /// Of `patterns`, all of them in `automaton`.
    pub(super) fn new(patterns: &[Pattern], automaton: &Automaton) -> Self {
        // Digits are written in one case or the other.
        let written = patterns.iter().flat_map(|(alphabet, pattern)| {
            let upper = (*alphabet == Alphabet::Hex).then(|| pattern.to_ascii_uppercase());
            [Some(pattern.clone()), upper.map(Zeroizing::new)]
        });
        let written: Vec<Zeroizing<Vec<u8>>> = written.flatten().collect();
        let count = written.len() * CERTAIN;
        let wanted = (count * 32).max(1).next_power_of_two().ilog2();
        let bits = wanted.clamp(*BITS.start(), *BITS.end());
        let mut middles = Self {
            bits: vec![0; 1 << (bits - 6)],
            right: 32 - bits,
            known: Zeroizing::new(Vec::with_capacity(count)),
        };
        for pattern in &written {
            for offset in 1..=CERTAIN {
                let middle = pattern
                    .get(offset..)
                    .and_then(<[u8]>::first_chunk::<MIDDLE>);
                let state = automaton.walk(pattern.get(..offset + MIDDLE).unwrap_or_default());
                let (Some(middle), Some(state)) = (middle, state) else {
                    continue;
                };
                middles.known.push((u32::from_le_bytes(*middle), state));
                let (word, bit) = middles.place(*middle);
                if let Some(word) = middles.bits.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        middles.known.sort_unstable();
        middles.known.dedup();
        middles
    }

    fn place(&self, middle: [u8; MIDDLE]) -> (usize, u64) {
        let hash = u32::from_le_bytes(middle).wrapping_mul(0x9e37_79b1) >> self.right;
        ((hash >> 6) as usize, 1 << (hash & 63))
    }

    /// Whether a pattern has these bytes in its middle.
    pub(super) fn holds(&self, middle: [u8; MIDDLE]) -> bool {
        let (word, bit) = self.place(middle);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
            && self.states(middle).next().is_some()
    }

    /// The states after these bytes, by what stood before them.
    pub(super) fn states(&self, middle: [u8; MIDDLE]) -> impl Iterator<Item = State> + '_ {
        let number = u32::from_le_bytes(middle);
        let first = self.known.partition_point(|(known, _)| *known < number);
        let known = self.known.iter().skip(first);
        known
            .take_while(move |(known, _)| *known == number)
            .map(|(_, state)| *state)
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        self.bits.capacity() * size_of::<u64>() + self.known.capacity() * size_of::<(u32, State)>()
    }
}
