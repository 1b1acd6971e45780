//! The escapes text is written with: those of JSON and its relatives, of URLs, of HTML and XML.

/// Maximum length of an escape: two surrogates, `\ud83d\ude00`.
pub(super) const LONGEST: usize = 12;

/// Names every HTML and XML writer uses.
const ENTITIES: [(&[u8], char); 5] = [
    (b"amp", '&'),
    (b"lt", '<'),
    (b"gt", '>'),
    (b"quot", '"'),
    (b"apos", '\''),
];

/// An escape at the beginning of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Escape {
    /// Number of bytes it takes in the text.
    pub(super) length: usize,
    pub(super) value: Value,
}

/// Meaning of an escape.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Byte(u8),
    Character(char),
}

/// The place of the next byte that an escape begins with.
pub(super) fn next(text: &[u8]) -> Option<usize> {
    memchr::memchr3(b'\\', b'%', b'&', text)
}

/// Whether a byte may be part of an escape.
pub(super) fn builds(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"\\%&#;{}".contains(&byte)
}

/// The escape that `text` begins with.
pub(super) fn parse(text: &[u8]) -> Option<Escape> {
    match text {
        [b'\\', b'u', b'{', ..] => enclosed(text, 3, b'}', |digits| number(digits, 16)),
        [b'\\', b'x', high, low, ..] => byte(octet(*high, *low)?, 4),
        [b'%', b'u', ..] => units(text),
        [b'%', high, low, ..] => byte(octet(*high, *low)?, 3),
        [b'&', b'#', b'x' | b'X', ..] => enclosed(text, 3, b';', |digits| number(digits, 16)),
        [b'&', b'#', ..] => enclosed(text, 2, b';', |digits| number(digits, 10)),
        [b'&', ..] => enclosed(text, 1, b';', |name| {
            let known = ENTITIES.iter().find(|(known, _)| *known == name);
            known.map(|(_, character)| *character)
        }),
        [b'\\', b'\'', ..] => byte(b'\'', 2),
        [b'\\', ..] => parse_json(text),
        _ => None,
    }
}

/// The escape of JSON that `text` begins with.
pub(super) fn parse_json(text: &[u8]) -> Option<Escape> {
    match text {
        [b'\\', b'u', ..] => units(text),
        [b'\\', other @ (b'"' | b'\\' | b'/'), ..] => byte(*other, 2),
        [b'\\', b'n', ..] => byte(b'\n', 2),
        [b'\\', b'r', ..] => byte(b'\r', 2),
        [b'\\', b't', ..] => byte(b'\t', 2),
        [b'\\', b'b', ..] => byte(8, 2),
        [b'\\', b'f', ..] => byte(12, 2),
        _ => None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an arm like the others")]
fn byte(byte: u8, length: usize) -> Option<Escape> {
    Some(Escape {
        length,
        value: Value::Byte(byte),
    })
}

/// `\u0041`, `%u0041`, and pairs of them. Half a pair stands for no character.
fn units(text: &[u8]) -> Option<Escape> {
    let introducer = text.first();
    let unit_at = |at: usize| {
        let escape = text.get(at..at + 6)?;
        let digits = escape.strip_prefix(&[*introducer?, b'u'])?;
        unit(digits)
    };
    let first = unit_at(0)?;
    let both = [first, unit_at(6).unwrap_or(0)];
    let character = match char::decode_utf16(both).next()? {
        Ok(character) => character,
        // The other half may come later.
        Err(_) if begins(text) => return None,
        Err(_) => char::REPLACEMENT_CHARACTER,
    };
    Some(Escape {
        length: character.len_utf16() * 6,
        value: Value::Character(character),
    })
}

/// An escape whose content is between `begin` and the byte `end`.
fn enclosed(
    text: &[u8],
    begin: usize,
    end: u8,
    read: impl FnOnce(&[u8]) -> Option<char>,
) -> Option<Escape> {
    let body = text.get(begin..)?;
    let reach = body.get(..LONGEST - begin).unwrap_or(body);
    let length = memchr::memchr(end, reach)?;
    Some(Escape {
        length: begin + length + 1,
        value: Value::Character(read(body.get(..length)?)?),
    })
}

fn number(digits: &[u8], radix: u32) -> Option<char> {
    // `from_str_radix` would take a sign.
    let digits = std::str::from_utf8(digits).ok();
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn octet(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// The code unit that four hexadecimal digits stand for.
pub(super) fn unit(digits: &[u8]) -> Option<u16> {
    let [a, b, c, d] = *digits else {
        return None;
    };
    let (high, low) = (octet(a, b)?, octet(c, d)?);
    Some(u16::from_be_bytes([high, low]))
}

/// The place where an escape begins that the end of `text` cuts; the length of `text` if there is none.
pub(super) fn unfinished(text: &[u8]) -> usize {
    let floor = text.len().saturating_sub(2 * LONGEST);
    let mut stop = text.len();
    loop {
        // An escape may be cut within a character that is written as an escape itself.
        let from = stop.saturating_sub(LONGEST - 1).max(floor);
        let is_cut = |at: &usize| begins(text.get(*at..stop).unwrap_or_default());
        match (from..stop).find(is_cut) {
            Some(earlier) => stop = earlier,
            None => return stop,
        }
    }
}

/// Whether all of `text` is a beginning of an escape.
fn begins(text: &[u8]) -> bool {
    let all_hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match text {
        [b'\\' | b'%' | b'&'] | [b'\\', b'x'] | [b'\\' | b'%', b'u'] => true,
        [b'%', digit] | [b'\\', b'x', digit] => digit.is_ascii_hexdigit(),
        [b'\\', b'u', b'{', digits @ ..] => digits.len() < LONGEST - 3 && all_hex(digits),
        [first @ (b'\\' | b'%'), b'u', digits @ ..] => match digits.split_at_checked(4) {
            None => all_hex(digits),
            Some((high, rest)) => {
                unit(high).is_some_and(|unit| (0xd800..0xdc00).contains(&unit))
                    && match rest {
                        [] => true,
                        [second] => second == first,
                        [second, b'u', digits @ ..] => second == first && all_hex(digits),
                        _ => false,
                    }
            }
        },
        [b'&', b'#', b'x' | b'X', digits @ ..] | [b'&', b'#', digits @ ..] => all_hex(digits),
        [b'&', name @ ..] => ENTITIES.iter().any(|(known, _)| known.starts_with(name)),
        _ => false,
    }
}
