//! The ids of a call: the one under which everything about it is found again, and the one its server knows it by.

use std::fmt;

use keepgate_mcp::id::Id;

/// The JSON-RPC id under which a request goes to its server: ours, never the client's, and used once.
///
/// An integer below 2^53, so that no server that goes through a double changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UpstreamId(u64);

impl UpstreamId {
    /// The bits an id has.
    pub const BITS: u32 = 53;

    /// The id of this number, of which only the low 53 bits are used.
    pub fn new(number: u64) -> Self {
        Self(number & ((1 << Self::BITS) - 1))
    }

    /// The id `id` spells, as a number or as a text of its digits, if it can be one of ours.
    pub fn of(id: &Id) -> Option<Self> {
        let number = u64::try_from(id.spelled_integer()?).ok()?;
        (number >> Self::BITS == 0).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The id as it goes on the wire.
    pub fn id(self) -> Id {
        // 53 bits always fit.
        Id::from_integer(i64::try_from(self.0).unwrap_or_default())
    }
}

impl fmt::Display for UpstreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of one decision: in the refusal a client sees, in both audit records, in logs and traces.
///
/// 128 bits laid out as a UUID version 7 (RFC 9562 §5.7), so that ids sort by time and any tool can read them. A refusal
/// that shares the record of an equal one before it has that one's id, a dot and its number: `<uuid>.17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId {
    text: [u8; LENGTH_MOST],
    length: u8,
}

/// Length of a UUID in text.
const UUID: usize = 36;
/// Length of the longest id: a UUID, a dot and ten digits.
const LENGTH_MOST: usize = UUID + 11;

impl DecisionId {
    /// Builds an id from Unix milliseconds and random bits. Only the low 48 bits of the time and 74 of the random
    /// bits are used.
    pub fn new(unix_ms: u64, random: u128) -> Self {
        let time = u128::from(unix_ms & 0xffff_ffff_ffff) << 80;
        let low = random & 0x0fff_3fff_ffff_ffff_ffff;
        let bits = time | low | (0x7 << 76) | (0x2 << 62);
        let mut text = [b'-'; LENGTH_MOST];
        let mut shift = 128_u32;
        for (at, slot) in text.iter_mut().take(UUID).enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                continue;
            }
            shift -= 4;
            let nibble = ((bits >> shift) & 0xf) as u8;
            *slot = if nibble < 10 {
                b'0' + nibble
            } else {
                b'a' + nibble - 10
            };
        }
        Self {
            text,
            length: UUID as u8,
        }
    }

    /// The id of the refusal numbered `number` among those that share the record with this id.
    #[must_use]
    pub fn repeat(&self, number: u32) -> Self {
        let mut text = self.text;
        let mut length = UUID;
        // Ten digits hold every `u32`, so the end of the text is never met.
        for (slot, byte) in text.iter_mut().skip(UUID).zip(format!(".{number}").bytes()) {
            *slot = byte;
            length += 1;
        }
        Self {
            text,
            length: u8::try_from(length).unwrap_or(UUID as u8),
        }
    }

    /// The characters of the id.
    pub fn as_str(&self) -> &str {
        let text = self.text.get(..usize::from(self.length));
        // Only ASCII was written above.
        std::str::from_utf8(text.unwrap_or_default()).unwrap_or_default()
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::DecisionId;

    #[test]
    fn an_id_is_a_uuid_of_version_7() {
        let id = DecisionId::new(0x0190_1234_5678, u128::MAX);
        assert_eq!(id.as_str(), "01901234-5678-7fff-bfff-ffffffffffff");
        assert_eq!(
            DecisionId::new(0, 0).as_str(),
            "00000000-0000-7000-8000-000000000000"
        );
    }

    #[test]
    fn repeats_are_numbered_after_their_first() {
        let first = DecisionId::new(0, 0);
        for (number, end) in [(1, ".1"), (40_000, ".40000"), (u32::MAX, ".4294967295")] {
            let repeat = first.repeat(number);
            assert_eq!(repeat.as_str(), format!("{first}{end}"));
            assert_eq!(repeat.repeat(2).as_str(), format!("{first}.2"));
        }
    }
}
