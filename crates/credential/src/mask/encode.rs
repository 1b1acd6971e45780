//! The ways a secret is written down by those who pass it on.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use super::breaks;

/// How a pattern is written, as far as its neighbours are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// As it is: what stands beside it is something else.
    Plain,
    /// Base64 of either kind: neighbours of the same alphabet may hold bits of it.
    Base64,
}

impl Alphabet {
    /// Whether a neighbour with this byte is masked as well.
    pub(super) fn extends_over(self, byte: u8) -> bool {
        match self {
            Self::Plain => false,
            Self::Base64 => byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte),
        }
    }
}

/// A secret as it may stand in an answer.
pub(super) type Pattern = (Alphabet, Zeroizing<Vec<u8>>);

/// All of them, each once, without line breaks: see [`breaks`].
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
    add(Alphabet::Plain, in_json(secret));
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::with_capacity(secret.len() * 3);
        write(&mut out);
        out
    };
    let percent_encoded = written(&|out| percent(secret, out));
    add(Alphabet::Plain, lower_escapes(&percent_encoded));
    add(Alphabet::Plain, percent_encoded);
    add(Alphabet::Plain, written(&|out| form(secret, out)));
    add(
        Alphabet::Plain,
        written(&|out| hex(secret, b"0123456789abcdef", out)),
    );
    add(
        Alphabet::Plain,
        written(&|out| hex(secret, b"0123456789ABCDEF", out)),
    );
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

/// As forms write it: like [`percent`], but `+` for a space.
fn form(bytes: &[u8], out: &mut Vec<u8>) {
    for (index, part) in bytes.split(|&byte| byte == b' ').enumerate() {
        if index > 0 {
            out.push(b'+');
        }
        percent(part, out);
    }
}

/// The same with lower-case digits in its escapes.
fn lower_escapes(encoded: &[u8]) -> Vec<u8> {
    let mut out = encoded.to_vec();
    let mut at = 0;
    while let Some(escape) = out.get_mut(at..) {
        match escape {
            [b'%', first, second, ..] => {
                first.make_ascii_lowercase();
                second.make_ascii_lowercase();
                at += 3;
            }
            [] => break,
            [_, ..] => at += 1,
        }
    }
    out
}

fn hex(bytes: &[u8], digits: &[u8; 16], out: &mut Vec<u8>) {
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            out.extend(digits.get(usize::from(half)));
        }
    }
}

/// As it stands in a JSON text that stands in a string.
fn in_json(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for &byte in bytes {
        escape(byte, &mut out);
    }
    out
}

/// One byte of a JSON string (RFC 8259 §7).
pub(super) fn escape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0..=0x1f => {
            out.extend_from_slice(b"\\u00");
            hex(&[byte], b"0123456789abcdef", out);
        }
        _ => out.push(byte),
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
        for expected in [
            "a+b/c\"d e%f",
            "a+b/c\\\"d e%f",
            "a%2Bb%2Fc%22d%20e%25f",
            "a%2bb%2fc%22d%20e%25f",
            "a%2Bb%2Fc%22d+e%25f",
            "612b622f632264206525 66".replace(' ', "").as_str(),
        ] {
            assert!(texts.iter().any(|text| text == expected), "{expected}");
        }
        let plain = patterns(b"0123456789abcdef");
        assert_eq!(plain.len(), 1 + 1 + 3, "plain, hex, three times base64");
    }
}
