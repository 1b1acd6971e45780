//! The ways a secret is written down by those who pass it on.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::{CERTAIN, Written, breaks, escape, reading::Texts};
use crate::secret::SHORTEST;

/// Spelling of a pattern, as far as its neighbours and the case of its letters are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// As it is: what stands beside it is something else.
    Plain,
    /// Hexadecimal digits in any case.
    Hex,
    /// Base64 of either kind: neighbours of the same alphabet may hold bits of it.
    Base64,
}

impl Alphabet {
    /// Whether a neighbour with this byte is masked as well.
    pub(super) fn extends_over(self, byte: u8) -> bool {
        match self {
            Self::Plain | Self::Hex => false,
            Self::Base64 => byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte),
        }
    }

    /// Another spelling of a byte of a pattern.
    fn other(self, byte: u8) -> Option<u8> {
        match self {
            Self::Plain => match byte {
                b' ' => Some(b'+'),
                b'+' => Some(b' '),
                _ => None,
            },
            Self::Hex => {
                let other = byte.to_ascii_uppercase();
                (other != byte).then_some(other)
            }
            Self::Base64 => None,
        }
    }
}

/// Bytes that are the same to the search: forms write `+` for a space, and digits have two cases.
pub(super) fn folded(byte: u8) -> u8 {
    match byte {
        b'+' => b' ',
        b'A'..=b'F' => byte.to_ascii_lowercase(),
        _ => byte,
    }
}

/// Every way the first bytes of a pattern may be written.
pub(super) fn heads((alphabet, pattern): &Pattern) -> Vec<[u8; CERTAIN]> {
    let mut heads: Vec<[u8; CERTAIN]> = Vec::new();
    heads.extend(pattern.first_chunk::<CERTAIN>());
    for at in 0..CERTAIN {
        for index in 0..heads.len() {
            let mut head = heads.get(index).copied().unwrap_or_default();
            if let Some(byte) = head.get_mut(at)
                && let Some(other) = alphabet.other(*byte)
            {
                *byte = other;
                heads.push(head);
            }
        }
    }
    heads
}

/// A secret as it may stand in an answer.
pub(super) type Pattern = (Alphabet, Zeroizing<Vec<u8>>);

/// All of them, each once, without line breaks: see [`breaks`]. Escapes are resolved in what is searched, so none of them
/// has any; a secret that reads like one itself is there with and without.
pub(super) fn patterns(secret: &[u8]) -> Vec<Pattern> {
    let mut all: Vec<Pattern> = Vec::new();
    let mut add = |alphabet, bytes: Vec<u8>| {
        // As texts are: without line breaks.
        let bytes = Zeroizing::new(breaks::without(&Zeroizing::new(bytes)));
        if !all.iter().any(|(_, known)| *known == bytes) {
            all.push((alphabet, bytes));
        }
    };
    add(Alphabet::Plain, secret.to_vec());
    let texts = Texts::new(secret, Written::Plainly);
    // What comes after may complete what the secret ends with.
    let certain = escape::unfinished(texts.text());
    if certain >= SHORTEST {
        let read = texts.text().get(..certain).unwrap_or_default();
        add(Alphabet::Plain, read.to_vec());
    }
    let mut digits = Vec::with_capacity(secret.len() * 2);
    hex(secret, b"0123456789abcdef", &mut digits);
    add(Alphabet::Hex, digits);
    for skipped in 0..3 {
        add(Alphabet::Base64, inner(&STANDARD_NO_PAD, secret, skipped));
        add(Alphabet::Base64, inner(&URL_SAFE_NO_PAD, secret, skipped));
    }
    all
}

/// What base64 makes of `secret` when `before` bytes (modulo 3) stand before it, without the characters at both ends that
/// depend on what stands there.
fn inner(engine: &impl base64::Engine, secret: &[u8], before: usize) -> Vec<u8> {
    let mut padded = Zeroizing::new(vec![0; before]);
    padded.extend_from_slice(secret);
    let bits = padded.len() * 8;
    let mut text = engine.encode(&*padded).into_bytes();
    // Whole characters only: a last one with bits of a follower in it is not certain.
    text.truncate(bits / 6);
    let uncertain = (before * 8).div_ceil(6);
    text.split_off(uncertain.min(text.len()))
}

/// Percent-encoding of everything that is not unreserved (RFC 3986 §2.3).
pub(crate) fn percent(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.push(b'%');
            hex(&[byte], b"0123456789ABCDEF", out);
        }
    }
}

fn hex(bytes: &[u8], digits: &[u8; 16], out: &mut Vec<u8>) {
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            out.extend(digits.get(usize::from(half)));
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::patterns;

    #[test]
    fn base64_is_known_whatever_stands_around_it() {
        let secret = b"correct horse battery";
        let known = patterns(secret);
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = STANDARD.encode([before.as_bytes(), secret, after.as_bytes()].concat());
                let found = known.iter().any(|(_, pattern)| {
                    text.as_bytes()
                        .windows(pattern.len())
                        .any(|window| window == &***pattern)
                });
                assert!(found, "{before}|{after}: {text}");
            }
        }
    }

    #[test]
    fn a_pattern_stands_there_once() {
        let texts: Vec<String> = patterns(b"a+b/c\"d e%f")
            .iter()
            .map(|(_, pattern)| String::from_utf8(pattern.to_vec()).unwrap())
            .collect();
        for expected in ["a+b/c\"d e%f", "612b622f6322642065"] {
            assert!(
                texts.iter().any(|text| text.starts_with(expected)),
                "{expected}"
            );
        }
        let plain = patterns(b"0123456789abcdef");
        assert_eq!(plain.len(), 1 + 1 + 3, "plain, hex, three times base64");
    }
}
