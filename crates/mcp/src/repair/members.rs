//! Members of a message that mean nothing: `null` where a member is left out, as serializers of many languages write, and members
//! that JSON-RPC does not have. No reader takes them for anything, so they are dropped and the rest is read as strictly as any
//! message. The id of an answer that is an integer written as a double becomes that integer. A key that some reader could take for another stays, and the message is refused for it.

use std::ops::Range;

use super::string_end;
use crate::{Id, Limits, fold::folded, json};

/// Members of a message.
const KNOWN: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
/// Most members of an object that are looked at, so that no text makes this hold more than itself.
const MAX_MEMBERS: usize = 64;

/// The text without those members; `None` where there are none, or where the text does not split into members.
pub(super) fn without_idle(text: &[u8]) -> Option<Vec<u8>> {
    let mut is_changed = false;
    let mut kept = Vec::with_capacity(text.len());
    let members = members(text)?;
    // A question is answered under the id it has.
    let is_call = members
        .iter()
        .filter_map(|member| text.get(member.key.clone()))
        .any(|key| key.contains(&b'\\') || is_variant(key, &["method"]));
    for member in members {
        let key = text.get(member.key.clone())?;
        let value = text.get(member.value.clone())?;
        if is_idle(key, value) {
            is_changed = true;
            continue;
        }
        kept.push(if kept.is_empty() { b'{' } else { b',' });
        kept.extend_from_slice(text.get(member.key.start - 1..member.value.start)?);
        let echoed = (key == b"id" && !is_call).then(|| echoed(value)).flatten();
        match echoed.or_else(|| without_null_meta(key, value)) {
            Some(value) => {
                is_changed = true;
                kept.extend_from_slice(&value);
            }
            None => kept.extend_from_slice(value),
        }
    }
    if kept.is_empty() {
        return None;
    }
    kept.push(b'}');
    is_changed.then_some(kept)
}

/// Whether some reader could take the key for one of `names`.
fn is_variant(key: &[u8], names: &[&str]) -> bool {
    std::str::from_utf8(key).is_ok_and(|key| names.contains(&&*folded(key)))
}

/// Whether a member of a message means nothing.
fn is_idle(key: &[u8], value: &[u8]) -> bool {
    match key {
        // Errors of what could not be read have `id: null`.
        b"jsonrpc" | b"id" => false,
        b"method" | b"params" | b"result" | b"error" => value == b"null",
        _ => !key.contains(&b'\\') && !is_variant(key, &KNOWN),
    }
}

/// The integer that the id of an answer equals, where it is written as another number.
fn echoed(value: &[u8]) -> Option<Vec<u8>> {
    let raw = json::parse(value, &Limits::request()).ok()?;
    let id = Id::from_echo(raw)?;
    (id.as_json().as_bytes() != value).then(|| id.as_json().into())
}

/// A result, or parameters, without `_meta: null`.
fn without_null_meta(key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    if !matches!(key, b"params" | b"result") || !value.starts_with(b"{") {
        return None;
    }
    let members = members(value)?;
    let is_null = |member: &Member| {
        value.get(member.key.clone()) == Some(b"_meta")
            && value.get(member.value.clone()) == Some(b"null")
    };
    let at = members.iter().position(is_null)?;
    // The comma before goes as well, or the one after where it comes first.
    let after = members.get(at + 1).map(|next| next.key.start - 1);
    let before = at.checked_sub(1).and_then(|at| members.get(at));
    let dropped = match (before, after) {
        (Some(before), _) => before.value.end..members.get(at)?.value.end,
        (None, Some(after)) => members.get(at)?.key.start - 1..after,
        (None, None) => members.get(at)?.key.start - 1..members.get(at)?.value.end,
    };
    Some([value.get(..dropped.start)?, value.get(dropped.end..)?].concat())
}

/// Places of a member: its key without the quotes, and its value.
struct Member {
    key: Range<usize>,
    value: Range<usize>,
}

/// Splits an object by brackets and strings alone.
fn members(text: &[u8]) -> Option<Vec<Member>> {
    let mut found = Vec::new();
    let mut at = blank(text, 0);
    if text.get(at) != Some(&b'{') {
        return None;
    }
    at = blank(text, at + 1);
    if text.get(at) == Some(&b'}') {
        return (blank(text, at + 1) == text.len()).then_some(found);
    }
    while found.len() < MAX_MEMBERS {
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let end = string_end(text, at)?;
        let key = at + 1..end - 1;
        at = blank(text, end);
        if text.get(at) != Some(&b':') {
            return None;
        }
        at = blank(text, at + 1);
        let value = at..value_end(text, at)?;
        at = blank(text, value.end);
        found.push(Member { key, value });
        match text.get(at)? {
            b',' => at = blank(text, at + 1),
            b'}' => return (blank(text, at + 1) == text.len()).then_some(found),
            _ => return None,
        }
    }
    None
}

/// The first place from `at` that is no white space.
fn blank(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + (rest.len() - rest.trim_ascii_start().len())
}

/// The place after the value that begins at `at`.
fn value_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match text.get(at)? {
            b'"' => at = string_end(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ => {
                let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let rest = text.get(at..)?;
                let length = rest.iter().take_while(|byte| word(byte)).count();
                if length == 0 && depth == 0 {
                    return None;
                }
                // Commas, colons and white space within brackets.
                at += length.max(1);
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::without_idle;

    #[test]
    fn members_that_mean_nothing_are_dropped_and_nothing_else() {
        for (text, expected) in [
            (
                r#"{"id":1,"result":{},"error":null}"#,
                Some(r#"{"id":1,"result":{}}"#),
            ),
            (
                r#"{"error":null,"id":1,"result":{}}"#,
                Some(r#"{"id":1,"result":{}}"#),
            ),
            (
                r#" {"id" : 1 , "acme" : [1,{"a":"}"}] , "result": {} } "#,
                Some(r#"{"id" : 1,"result": {}}"#),
            ),
            (r#"{"method":"m","params":null}"#, Some(r#"{"method":"m"}"#)),
            (r#"{"acme":1}"#, None),
            (r#"{"result":{"_meta":null}}"#, Some(r#"{"result":{}}"#)),
            (
                r#"{"result":{"a":1 , "_meta":null}}"#,
                Some(r#"{"result":{"a":1}}"#),
            ),
            (
                r#"{"result":{"_meta": null ,"a":1}}"#,
                Some(r#"{"result":{"a":1}}"#),
            ),
            (
                r#"{"result":{"b":[{"_meta":null}],"_meta":null,"a":1}}"#,
                Some(r#"{"result":{"b":[{"_meta":null}],"a":1}}"#),
            ),
            (
                r#"{"id": 7.0 ,"result":{}}"#,
                Some(r#"{"id": 7,"result":{}}"#),
            ),
            (r#"{"id":7.0,"method":"m"}"#, None),
            (r#"{"id":7.0,"meth\u006fd":"m"}"#, None),
            (r#"{"id":7.5,"result":{}}"#, None),
            // What some reader takes for another member.
            (r#"{"result":{},"Error":null}"#, None),
            (r#"{"result":{},"RESULT":{}}"#, None),
            (r#"{"result":{},"re\u0073ult":{}}"#, None),
            // Nothing to drop, or no object.
            (r#"{"id":null,"error":{}}"#, None),
            (r#"{"result":{"a":null}}"#, None),
            ("{}", None),
            ("[]", None),
            ("", None),
            (r#"{"a":1"#, None),
            (r#"{"a":}"#, None),
            (r#"{"a":1]"#, None),
            (r#"{"a":1}}"#, None),
            (r#"{"a":"1}"#, None),
        ] {
            let kept = without_idle(text.as_bytes());
            assert_eq!(kept.as_deref(), expected.map(str::as_bytes), "{text}");
        }
        let many = format!("{{{}\"acme\":1}}", r#""a":null,"#.repeat(1000));
        assert_eq!(without_idle(many.as_bytes()), None);
    }
}
