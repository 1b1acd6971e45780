//! Repair of a server's message that cannot be read. Half of a surrogate pair, as languages with UTF-16 strings write when they
//! cut a text, becomes U+FFFD: no reader takes it for anything else, and the call was made. Items of a list that cannot be read
//! are dropped: nobody sees or calls them. So are members that mean nothing, as `error: null` next to a result or
//! `nextCursor: null` in one, and a byte order mark before the text.

mod items;
mod members;
mod nulls;

use std::fmt;

use bytes::{Buf, Bytes};
use memchr::memchr;

use crate::{
    DecodeError, DecodeFault, Limits,
    message::{self, Body},
};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Halves of surrogate pairs were replaced.
    Surrogates,
    /// So many items of a list were dropped.
    Items(usize),
    /// Members that mean nothing were dropped, or the id of an answer was written as the integer it equals.
    Members,
    /// Members that MCP has optional were dropped, since they were null.
    Nulls,
    /// A byte order mark was dropped.
    ByteOrderMark,
}

impl fmt::Display for Repair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Surrogates => {
                formatter.write_str("replaced halves of surrogate pairs in a message by U+FFFD")
            }
            Self::Items(count) => write!(
                formatter,
                "dropped items of a list that cannot be read (nested too deeply, a key twice): {count}"
            ),
            Self::Members => formatter.write_str(
                "dropped members of a message that are null or unknown to JSON-RPC, or read its id as an integer",
            ),
            Self::Nulls => formatter
                .write_str("dropped members of a message that are optional in MCP and null"),
            Self::ByteOrderMark => {
                formatter.write_str("dropped a byte order mark before a message")
            }
        }
    }
}

/// Decodes a message of a server. `repaired` is called for each repair it needed, at most one of each kind.
///
/// # Errors
/// As [`message::decode`], but for what can be repaired.
pub fn decode(
    bytes: Bytes,
    limits: &Limits,
    mut repaired: impl FnMut(Repair),
) -> Result<Body, DecodeError> {
    let body = readable(bytes, limits, &mut repaired)?;
    let mut is_changed = false;
    let mut without_nulls = |message: message::Message| match nulls::without(&message) {
        Some(changed) => {
            is_changed = true;
            changed
        }
        None => message,
    };
    let body = match body {
        Body::Single(message) => Body::Single(without_nulls(message)),
        Body::Batch(messages) => Body::Batch(messages.into_iter().map(without_nulls).collect()),
    };
    if is_changed {
        repaired(Repair::Nulls);
    }
    Ok(body)
}

/// The messages of a text, repaired as far as reading needs it.
fn readable(
    mut bytes: Bytes,
    limits: &Limits,
    repaired: &mut impl FnMut(Repair),
) -> Result<Body, DecodeError> {
    // One alone: a second is no mark any more.
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.advance(BYTE_ORDER_MARK.len());
        repaired(Repair::ByteOrderMark);
    }
    let mut error = match message::decode_shared(&bytes, limits) {
        Ok(body) => return Ok(body),
        Err(error) => error,
    };
    if error.fault == DecodeFault::LoneSurrogate {
        repaired(Repair::Surrogates);
        bytes = without_lone_surrogates(&bytes).into();
        error = match message::decode_shared(&bytes, limits) {
            Ok(body) => return Ok(body),
            Err(error) => error,
        };
    }
    if is_of_members(error.fault)
        && let Some(kept) = members::without_idle(&bytes)
    {
        bytes = kept.into();
        error = match message::decode_shared(&bytes, limits) {
            Ok(body) => {
                repaired(Repair::Members);
                return Ok(body);
            }
            Err(error) => error,
        };
    }
    let Some((kept, dropped)) = items::without_unreadable(&bytes, limits) else {
        return Err(error);
    };
    let body = message::decode(kept.into(), limits)?;
    repaired(Repair::Items(dropped));
    Ok(body)
}

/// Whether the fault may be one of a member that means nothing.
fn is_of_members(fault: DecodeFault) -> bool {
    matches!(
        fault,
        DecodeFault::UnknownMember
            | DecodeFault::Shape
            | DecodeFault::InvalidId
            | DecodeFault::InvalidMethod
            | DecodeFault::InvalidParams
            | DecodeFault::InvalidResult
            | DecodeFault::InvalidError
            | DecodeFault::InvalidMeta
    )
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

/// The place after the string that begins at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let found = memchr::memchr2(b'"', b'\\', text.get(from..)?)? + from;
        if text.get(found) == Some(&b'"') {
            return Some(found + 1);
        }
        from = found + 2;
    }
}

/// The code unit of the escape that begins at `at`, if one does.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{Repair, decode, without_lone_surrogates};
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
            let read = decode(text.into(), &Limits::reply(), |_| repaired += 1);
            assert_eq!((read.is_ok(), repaired), (is_read, repairs), "{text}");
        }
    }

    #[test]
    fn what_changes_nothing_is_absorbed_and_said_once() {
        for (text, kept, repairs) in [
            (
                "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
                Some(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
                vec![Repair::ByteOrderMark],
            ),
            (
                "\u{feff}\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
                None,
                vec![Repair::ByteOrderMark],
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.0,"result":{}}"#,
                Some(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
                vec![Repair::Members],
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.25E1,"error":{"code":1,"message":"a"}}"#,
                None,
                vec![],
            ),
            // A question is answered under the id it has.
            (
                r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#,
                None,
                vec![],
            ),
            (
                r#"[{"jsonrpc":"2.0","id":1,"result":{"tools":[],"nextCursor":null}},{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1,"total":null}}]"#,
                Some(
                    r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
                ),
                vec![Repair::Nulls],
            ),
            // Neither result nor error, and a result that is none.
            (r#"{"jsonrpc":"2.0","id":1}"#, None, vec![]),
            (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, None, vec![]),
        ] {
            let mut seen = Vec::new();
            let read = decode(text.into(), &Limits::reply(), |repair| seen.push(repair));
            let read = read.ok().map(|body| {
                let texts = body
                    .messages()
                    .iter()
                    .map(|message| message.bytes().to_vec());
                String::from_utf8(texts.collect::<Vec<_>>().concat()).expect("text")
            });
            assert_eq!((read.as_deref(), seen), (kept, repairs), "{text}");
        }
    }

    /// Opens so many brackets around a number.
    fn nested(levels: usize) -> String {
        format!("{}1{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn items_that_cannot_be_read_are_dropped_and_nothing_else() {
        let limits = Limits {
            depth: 8,
            ..Limits::reply()
        };
        let deep = format!(r#"{{"name":"deep","inputSchema":{}}}"#, nested(5));
        let fits = format!(r#"{{"name":"fits","inputSchema":{}}}"#, nested(4));
        let twice = r#"{"name":"twice","name":"b"}"#;
        let number = format!(r#"{{"name":"n","a":{}}}"#, "1".repeat(5_000));
        let tricky = r#"{"name":"a]},{\"","b":[{"c":"\\"},"]"]}"#;
        let list = |items: &[&str]| {
            let items = items.join(" , ");
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"nextCursor":"x","tools":[ {items} ],"_meta":{{}}}}}}"#
            )
        };
        for (items, kept) in [
            (vec![&*deep, &fits], vec![&*fits]),
            (vec![&fits, &deep], vec![&fits]),
            (vec![&deep], vec![]),
            (
                vec![&deep, tricky, twice, &fits, &number, &deep],
                vec![tricky, &fits],
            ),
        ] {
            let mut repairs = Vec::new();
            let dropped = items.len() - kept.len();
            let read = decode(list(&items).into(), &limits, |repair| repairs.push(repair));
            let body = read.unwrap_or_else(|error| panic!("{error}: {items:?}"));
            let message = body.messages().first().expect("one").bytes().clone();
            let message: serde_json::Value = serde_json::from_slice(&message).expect("JSON");
            let expected: serde_json::Value = serde_json::from_str(&list(&kept)).expect("JSON");
            assert_eq!(message, expected);
            assert_eq!(repairs, [Repair::Items(dropped)]);
        }
    }

    #[test]
    fn answers_of_calls_and_broken_texts_are_not_repaired() {
        let limits = Limits {
            depth: 8,
            ..Limits::reply()
        };
        let deep = nested(9);
        for text in [
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"content":[],"tools":[{deep}]}}}}"#),
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{deep}],"structuredContent":{{}}}}}}"#
            ),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"other":[{deep}]}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"tools":[{deep}]}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{{"tools":[{deep}]}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":"tools","a":[{deep}]}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{deep}]}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{deep}],"tools":[]}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{deep}],"a":"#),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{deep}],"a":"\"#),
            "]]]]".to_owned(),
            String::new(),
        ] {
            let read = decode(text.clone().into(), &limits, |repair| {
                panic!("{repair}: {text}")
            });
            assert!(read.is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_the_repair(text in r#"\{"jsonrpc":"2.0","id":1,"result":\{"tools":[\[\]{}",:\\a1 ]{0,60}"#) {
            let limits = Limits { depth: 5, ..Limits::reply() };
            drop(decode(text.into(), &limits, |_| {}));
        }
    }
}
