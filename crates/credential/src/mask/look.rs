//! The quick look: whether a secret may stand anywhere in a message.

use super::{
    CERTAIN, MIDDLE, Mask, Written, breaks,
    encode::{self, Pattern},
    escape::{self, LONGEST, Value},
    reading::Texts,
    steps,
};

/// A set of bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bytes256([u64; 4]);

impl Bytes256 {
    /// The bytes that decide whether a pattern begins: those of its beginning, and of what else counts as one.
    pub(super) fn of_beginnings(patterns: &[Pattern]) -> Self {
        let mut all = Self::default();
        for pattern in patterns {
            let (_, bytes) = pattern;
            let heads = encode::heads(pattern);
            let heads = heads.iter().flatten();
            heads
                .chain(bytes.iter().take(CERTAIN + MIDDLE))
                .for_each(|byte| all.add(*byte));
        }
        all
    }

    /// The bytes that make an escape of a backslash before them which may be part of a beginning.
    pub(super) fn of_escapes(beginnings: Self) -> Self {
        let mut all = Self::default();
        for byte in 0..=u8::MAX {
            let escape = escape::parse(&[b'\\', byte]).map(|escape| escape.value);
            if let Some(Value::Byte(value)) = escape
                && hides(beginnings, value)
            {
                all.add(byte);
            }
        }
        all
    }

    fn add(&mut self, byte: u8) {
        if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
            *word |= 1 << (byte & 63);
        }
    }

    fn has(&self, byte: u8) -> bool {
        let word = self.0.get(usize::from(byte >> 6));
        word.is_some_and(|word| word & (1 << (byte & 63)) != 0)
    }

    fn has_wide(&self) -> bool {
        let [_, _, a, b] = self.0;
        a | b != 0
    }
}

/// Whether a byte that was an escape may be part of a beginning, of another escape, or of a line break.
fn hides(beginnings: Bytes256, byte: u8) -> bool {
    beginnings.has(byte) || escape::builds(byte) || matches!(byte, b'\n' | b'\r')
}

/// Whether what the filter does not see holds a beginning.
enum Seams {
    Clear,
    Suspect,
    /// Undecided until escapes are read.
    Hidden,
}

impl Mask {
    /// Whether a pattern may stand anywhere in the message.
    pub(super) fn suspects(&self, json: &[u8]) -> bool {
        if self.filter.find(json, 0).is_some() {
            return true;
        }
        let seams = if self.marks(json) {
            Seams::Hidden
        } else {
            self.seams(json)
        };
        match seams {
            Seams::Suspect => true,
            Seams::Clear => false,
            Seams::Hidden => self.suspects_hidden(json),
        }
    }

    /// Whether the message may hold a pattern once its escapes are read. Outside strings JSON has none, so it is read
    /// as a whole.
    fn suspects_hidden(&self, json: &[u8]) -> bool {
        let texts = Texts::new(json, Written::AsJson);
        let text = texts.text();
        // An escape that was cut may end there, so the middle of a pattern begins a little later.
        let begins = |at: usize| {
            (1..=LONGEST).any(|skipped| {
                steps::add(1);
                let string = text.get(at + skipped..).unwrap_or_default();
                let head = string.first_chunk::<MIDDLE>();
                head.is_some_and(|head| self.middles.holds(*head))
            })
        };
        let mut readings = texts.readings();
        readings.any(|reading| self.filter.find(reading.text(), 0).is_some())
            || memchr::memchr_iter(b'"', text).any(begins)
    }

    /// Whether a resolved escape may be part of a beginning, or of another escape.
    fn hides(&self, value: Value) -> bool {
        match value {
            Value::Byte(byte) => self.hides_byte(byte),
            Value::Character(character) => match u8::try_from(u32::from(character)) {
                Ok(byte) if byte.is_ascii() => self.hides_byte(byte),
                Ok(_) | Err(_) => self.beginnings.has_wide(),
            },
        }
    }

    fn hides_byte(&self, byte: u8) -> bool {
        hides(self.beginnings, byte)
    }

    /// Whether `\uXXXX`, of which `digits` come next, may be part of a beginning.
    fn hides_unit(&self, digits: &[u8]) -> bool {
        match digits
            .first_chunk::<4>()
            .and_then(|digits| escape::unit(digits))
        {
            Some(unit) => match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => self.hides_byte(byte),
                Ok(_) | Err(_) => self.beginnings.has_wide(),
            },
            None => true,
        }
    }

    /// Whether percent-encoding or HTML hides what may be part of a beginning.
    fn marks(&self, json: &[u8]) -> bool {
        steps::add(json.len() / 16 + 1);
        memchr::memchr2_iter(b'%', b'&', json).any(|at| {
            steps::add(1);
            match json.get(at..).unwrap_or_default() {
                [b'%', b'\\', ..] | [b'%', _, b'\\', ..] | [b'&', b'\\', ..] => true,
                [b'%', b'u', digits @ ..] => self.hides_unit(digits),
                [b'%', high, low, ..] => {
                    escape::octet(*high, *low).is_some_and(|byte| self.hides_byte(byte))
                }
                rest @ [b'&', name @ ..] => {
                    let name = name.iter().take(LONGEST);
                    let ends = |byte: &&u8| b";\"\\&".contains(*byte);
                    let is_cut = || name.clone().find(ends) == Some(&b'\\');
                    escape::parse(rest).map_or_else(is_cut, |escape| self.hides(escape.value))
                }
                _ => false,
            }
        })
    }

    /// Looks at what the filter cannot see in JSON as it is written: where strings begin, over line breaks, and escapes.
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
                rest => {
                    if self.hides_after(rest.get(1..).unwrap_or_default()) {
                        return Seams::Hidden;
                    }
                    at += 2;
                }
            }
        }
        Seams::Clear
    }

    /// Whether what stands after a backslash makes an escape of it that hides something.
    fn hides_after(&self, rest: &[u8]) -> bool {
        match rest {
            [b'u', b'{', ..] | [b'x', ..] => true,
            [b'u', digits @ ..] => self.hides_unit(digits),
            [other, ..] => self.hidden.has(*other),
            [] => false,
        }
    }

    /// The length of what begins with backslashes at `at`; `None` if its escapes have to be read to decide.
    fn breaks(&self, json: &[u8], at: usize) -> Option<usize> {
        let length = breaks::length(json.get(at..).unwrap_or_default());
        let before = at.checked_sub(1).and_then(|at| json.get(at));
        let after = json.get(at + length.bytes..).unwrap_or_default();
        if length.is_break {
            let joins = before
                .zip(after.first())
                .is_some_and(|(one, other)| self.filter.joins(*one, *other));
            return (!joins).then_some(length.bytes);
        }
        // Half of the backslashes are escaped by the others; an odd one escapes what follows.
        let hides = self.beginnings.has(b'\\') || self.hides_after(after);
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
}
