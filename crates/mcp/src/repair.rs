//! Repair of a server's message before it is read, since the call it answers was made: half of a surrogate pair, as
//! languages with UTF-16 strings write when they cut a text, becomes U+FFFD. No reader takes it for anything else.

use bytes::Bytes;
use memchr::{memchr, memmem};

use crate::{
    DecodeError, DecodeFault, Limits,
    message::{self, Body},
};

/// Decodes a message of a server. `repaired` is called if it had to be repaired.
///
/// # Errors
/// As [`message::decode`], but for lone surrogates.
pub fn decode(bytes: Bytes, limits: &Limits, repaired: impl FnOnce()) -> Result<Body, DecodeError> {
    // Nearly no message has one, and a second owner of the bytes would cost each an allocation.
    if !has_surrogates(&bytes) {
        return message::decode(bytes, limits);
    }
    let before = bytes.clone();
    match message::decode(bytes, limits) {
        Err(error) if error.fault == DecodeFault::LoneSurrogate => {
            repaired();
            message::decode(without_lone_surrogates(&before).into(), limits)
        }
        other => other,
    }
}

/// Whether there are escapes of surrogates, in pairs or alone.
fn has_surrogates(text: &[u8]) -> bool {
    memmem::find_iter(text, b"\\u").any(|at| matches!(text.get(at + 2), Some(b'd' | b'D')))
}

/// JSON text with U+FFFD in the place of each escape that is half of a pair.
fn without_lone_surrogates(text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    let mut at = 0;
    while let Some(found) = memchr(b'\\', text.get(at..).unwrap_or_default()) {
        let escape = at + found;
        at = match unit(text, escape) {
            None => escape + 2,
            Some(0xD800..=0xDBFF) if matches!(unit(text, escape + 6), Some(0xDC00..=0xDFFF)) => {
                escape + 12
            }
            Some(0xD800..=0xDFFF) => {
                if let Some(digits) = out.get_mut(escape + 2..escape + 6) {
                    digits.copy_from_slice(b"fffd");
                }
                escape + 6
            }
            Some(_) => escape + 6,
        };
    }
    out
}

/// The code unit of the escape that begins at `at`, if one does.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{decode, without_lone_surrogates};
    use crate::Limits;

    #[test]
    fn halves_of_pairs_are_replaced_and_nothing_else() {
        for (text, expected) in [
            (r#""a\ud800b""#, r#""a\ufffdb""#),
            (r#""\udc00""#, r#""\ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\\ud800""#, r#""\\ud800""#),
            (r#""\ud800\n\"""#, r#""\ufffd\n\"""#),
            (r#""\u00e9\ud800"#, r#""\u00e9\ufffd"#),
            (r#""\ud8"#, r#""\ud8"#),
        ] {
            assert_eq!(
                without_lone_surrogates(text.as_bytes()),
                expected.as_bytes(),
                "{text}"
            );
        }
    }

    #[test]
    fn other_faults_stay() {
        for (text, is_read, repairs) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{"a":"\ud800"}}"#,
                true,
                1,
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"a":"x"}}"#, true, 0),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"a":"\x"}}"#, false, 0),
            // Two keys that would be one text.
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{"\ud800":1,"\ufffd":2}}"#,
                false,
                1,
            ),
        ] {
            let mut repaired = 0;
            let read = decode(text.into(), &Limits::reply(), || repaired += 1);
            assert_eq!((read.is_ok(), repaired), (is_read, repairs), "{text}");
        }
    }
}
