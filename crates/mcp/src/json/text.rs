//! The inside of JSON strings: finding their end fast, decoding escapes, folding case.

use std::borrow::Cow;

use crate::steps;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Marks with its high bit each byte of `word` that ends a plain run: `"`, `\` or a control character. Only the lowest mark
/// is exact, which is the one asked for.
fn marks(word: u64) -> u64 {
    let quote = word ^ (ONES * 0x22);
    let slash = word ^ (ONES * 0x5c);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    ((quote.wrapping_sub(ONES) & !quote) | (slash.wrapping_sub(ONES) & !slash) | control) & HIGHS
}

/// The place, from `at` on, of the first byte that is `"`, `\` or a control character; the end of `text` if there is none.
pub(super) fn plain_end(text: &[u8], mut at: usize) -> usize {
    let mut rest = text.get(at..).unwrap_or_default();
    // Two words settle most keys and values; after that the run is long and wide blocks pay.
    for _ in 0..2 {
        let Some((chunk, tail)) = rest.split_first_chunk::<8>() else {
            return at + byte_end(rest);
        };
        let found = marks(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        rest = tail;
        at += 8;
    }
    while let Some((block, tail)) = rest.split_first_chunk::<64>() {
        // No early exit inside a block: the compiler turns this into vector compares.
        let mut stop = 0_u8;
        for byte in block {
            stop |= u8::from(*byte == b'"') | u8::from(*byte == b'\\') | u8::from(*byte < 0x20);
        }
        if stop != 0 {
            break;
        }
        rest = tail;
        at += 64;
    }
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let found = marks(u64::from_le_bytes(*chunk));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        rest = tail;
        at += 8;
    }
    at + byte_end(rest)
}

fn byte_end(rest: &[u8]) -> usize {
    rest.iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
        .unwrap_or(rest.len())
}

/// The decoded text of a string value, quotes included in `raw`; nothing if it is not a string.
pub(super) fn decode(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    steps::add(inner.len() / 8 + 1);
    if memchr::memchr(b'\\', inner).is_none() {
        return simdutf8::basic::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    let mut out = Vec::with_capacity(inner.len());
    unescape(inner, &mut out)?;
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// Whether a string value, quotes included in `raw`, decodes to `text`.
pub(super) fn equals(raw: &[u8], text: &str) -> bool {
    let Some(inner) = raw
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return false;
    };
    // Keys differ in their first byte as a rule, and an escape would show there.
    if let (Some(first), Some(wanted)) = (inner.first(), text.as_bytes().first())
        && first != wanted
        && *first != b'\\'
    {
        return false;
    }
    if inner == text.as_bytes() {
        return !inner.contains(&b'\\');
    }
    // Escapes only ever lengthen a text.
    inner.len() > text.len()
        && inner.contains(&b'\\')
        && decode(raw).is_some_and(|decoded| decoded == text)
}

/// Appends what `inner` (a string without its quotes) decodes to. Nothing if an escape is not one of JSON's.
pub(super) fn unescape(mut inner: &[u8], out: &mut Vec<u8>) -> Option<()> {
    while let Some(at) = memchr::memchr(b'\\', inner) {
        let (plain, rest) = inner.split_at_checked(at)?;
        steps::add(at / 8 + 1);
        out.extend_from_slice(plain);
        let (_, code, rest) = (rest.first()?, *rest.get(1)?, rest.get(2..)?);
        let (character, rest) = match code {
            b'"' | b'\\' | b'/' => (char::from(code), rest),
            b'b' => ('\u{8}', rest),
            b'f' => ('\u{c}', rest),
            b'n' => ('\n', rest),
            b'r' => ('\r', rest),
            b't' => ('\t', rest),
            b'u' => hex_character(rest)?,
            _ => return None,
        };
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        inner = rest;
    }
    out.extend_from_slice(inner);
    Some(())
}

/// The character whose `\u` was just read, and what follows it. Nothing for bad digits and lone surrogates.
fn hex_character(rest: &[u8]) -> Option<(char, &[u8])> {
    let (first, rest) = hex_unit(rest)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, rest));
    }
    let (second, rest) = hex_unit(rest.strip_prefix(b"\\u")?)?;
    if !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    let point = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    Some((char::from_u32(point)?, rest))
}

/// Four hexadecimal digits and what follows them.
pub(super) fn hex_unit(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = rest.split_first_chunk::<4>()?;
    let mut unit = 0;
    for digit in digits {
        unit = unit * 16 + char::from(*digit).to_digit(16)?;
    }
    Some((unit, rest))
}
