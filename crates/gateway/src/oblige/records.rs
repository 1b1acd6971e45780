//! Records: what counts as one, how many a result holds, and how a client is told that some were cut.

use keepgate_mcp::json::{Kind, Raw};

use super::{
    encoded::runs,
    place::{Frame, Inner},
    text::{NESTED, brackets, documents, parsed, plain},
};

/// The key of `_meta` that says how many records were cut.
pub(super) const CUT: &str = "dev.keepgate/records_cut";

/// Whether a content block is one record: its text is one. Some servers give each item of a list a block.
pub(super) fn is_record(block: &[u8]) -> bool {
    let block = std::str::from_utf8(block).ok().and_then(parsed);
    let inner = block.map(|block| block.member("resource").unwrap_or(block));
    inner.is_some_and(|inner| {
        let text = inner.member("text").and_then(Raw::string);
        text.is_some_and(|text| is_one(&text))
            || inner
                .member("blob")
                .and_then(|blob| plain(&blob.string()?))
                .is_some_and(|text| is_one(&text))
    })
}

/// Whether a text, or one of several documents in it, is a record: an object, or an array that is more than a mark in prose
/// such as `[1]` or `[ ]`.
pub(super) fn is_one(document: &str) -> bool {
    let document = document.trim();
    match document.as_bytes().first() {
        Some(b'{') => parsed(document).is_some_and(Raw::is_object),
        Some(b'[') => {
            let is_mark = |byte: u8| b"[] ".contains(&byte) || byte.is_ascii_digit();
            !document.bytes().all(is_mark) && parsed(document).is_some()
        }
        Some(_) | None => false,
    }
}

/// `_meta` with the number of records that were cut. `meta` is what stood there.
pub(super) fn told(meta: Option<Raw<'_>>, cut: u64) -> String {
    let members = meta.into_iter().flat_map(Raw::members);
    // Nobody but us says this.
    let kept = members.filter(|(key, _)| !key.is_text(CUT));
    let mut said: Vec<String> = kept
        .map(|(key, value)| format!("{}:{}", key.as_str(), value.as_str()))
        .collect();
    said.push(format!("\"{CUT}\":{cut}"));
    format!("{{{}}}", said.join(","))
}

/// How many records a result or an error holds: the items of the outermost arrays of objects or arrays, and of several JSON
/// documents in a text each. Told twice, in `structuredContent` and beside it, the more of it counts.
pub(crate) fn count(said: Raw<'_>) -> u64 {
    let (mut structured, mut beside) = (0_u64, 0_u64);
    for (key, value) in said.members() {
        let name = key.string().unwrap_or_default();
        let sum = if name == "structuredContent" {
            &mut structured
        } else {
            &mut beside
        };
        *sum = sum.saturating_add(shown(value, Frame::Result.inner(&name)));
    }
    structured.max(beside)
}

/// In a part of the protocol.
fn shown(value: Raw<'_>, inner: Inner) -> u64 {
    match (inner, value.kind()) {
        (Inner::Copy, _) => 0,
        (Inner::Frame(frame), Kind::Object) => {
            let members = value.members();
            members
                .map(|(key, value)| shown(value, frame.inner(&key.string().unwrap_or_default())))
                .sum()
        }
        (Inner::Frame(_), Kind::Array) => value.items().map(|item| shown(item, inner)).sum(),
        (Inner::Text | Inner::Frame(_), Kind::String) => told_in(value, true, 0),
        (Inner::Blob, Kind::String) => {
            let text = value.string().and_then(|text| plain(&text));
            text.map_or(0, |text| within_text(&text, true, 0))
        }
        (Inner::Root | Inner::Data | Inner::Text | Inner::Blob | Inner::Frame(_), _) => {
            within(value, 0)
        }
    }
}

fn told_in(string: Raw<'_>, counts_one: bool, nested: u8) -> u64 {
    let text = string.string();
    text.map_or(0, |text| within_text(&text, counts_one, nested))
}

/// In a text, where an object that is alone in it counts if `counts_one`.
fn within_text(text: &str, counts_one: bool, nested: u8) -> u64 {
    if memchr::memchr2(b'{', b'[', text.as_bytes()).is_none() {
        return encoded(text, nested);
    }
    if nested == NESTED {
        return brackets(text);
    }
    if text.trim_start().starts_with('"')
        && let Some(inner) = parsed(text).and_then(Raw::string)
    {
        return within_text(&inner, counts_one, nested + 1);
    }
    let found = documents(text);
    let several = found.ranges.len() > 1;
    let each = found.ranges.iter().map(|(from, to)| {
        let document = text.get(*from..*to).unwrap_or_default();
        let inner = parsed(document).map_or(0, |document| within(document, nested + 1));
        let alone = several || (counts_one && document.starts_with('{'));
        inner.max(u64::from(alone && is_one(document)))
    });
    let mut sum: u64 = each.sum();
    let mut copied = 0;
    let ends = found.ranges.iter().copied();
    for (from, to) in ends.chain([(text.len(), text.len())]) {
        sum = sum.saturating_add(encoded(text.get(copied..from).unwrap_or_default(), nested));
        copied = to;
    }
    // What cannot be read to its end is counted by what might be a record.
    if found.doubtful {
        brackets(text).max(sum)
    } else {
        sum
    }
}

/// In texts that are base64 within a text.
fn encoded(text: &str, nested: u8) -> u64 {
    if nested == NESTED {
        return 0;
    }
    let each = runs(text).into_iter();
    each.map(|run| within_text(&run.inner, false, nested + 1))
        .sum()
}

/// In data.
fn within(value: Raw<'_>, nested: u8) -> u64 {
    match value.kind() {
        Kind::Object => value
            .members()
            .map(|(_, value)| within(value, nested))
            .sum(),
        Kind::Array => {
            let each = value.items().map(|item| match item.kind() {
                Kind::Object => 1,
                Kind::Array => within(item, nested).max(1),
                Kind::String => told_in(item, true, nested),
                Kind::Null | Kind::Bool | Kind::Number => 0,
            });
            each.sum()
        }
        Kind::String => told_in(value, false, nested),
        Kind::Null | Kind::Bool | Kind::Number => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{count, parsed, told};

    #[test]
    fn records_are_counted_where_they_stand() {
        for (result, wanted) in [
            (
                r#"{"structuredContent":{"items":[{},{},{}],"tags":["a"]}}"#,
                3,
            ),
            (r#"{"content":[{"type":"text","text":"[{},{}]"}]}"#, 2),
            (
                r#"{"content":[{"type":"text","text":"{\"a\":1}\n{\"a\":2}"}]}"#,
                2,
            ),
            (r#"{"content":[{"text":"{}"},{"text":"{}"}]}"#, 2),
            (
                r#"{"contents":[{"uri":"x","text":"{\"rows\":[[1],[2]]}"}]}"#,
                2,
            ),
            (r#"{"content":[{"text":"hello"}]}"#, 0),
            // Told twice, the more of it counts.
            (
                r#"{"content":[{"text":"[{},{}]"}],"structuredContent":{}}"#,
                2,
            ),
            (
                r#"{"content":[{"text":"[{},{}]"}],"structuredContent":{"a":[{},{},{}]}}"#,
                3,
            ),
            (r#"{"structuredContent":{"rows":[[{},{},{}],[{}]]}}"#, 4),
            (r#"{"structuredContent":{"rows":[[1,2],[3,4]]}}"#, 2),
            (r#"{"structuredContent":{"rows":"[{},{}]"}}"#, 2),
            (r#"{"structuredContent":{"rows":["{}","{}","a"]}}"#, 2),
            (r#"{"structuredContent":{"a":"{}"}}"#, 0),
            (r#"{"content":[],"rows":[{},{}]}"#, 2),
            (r#"{"code":-1,"message":"no","data":{"rows":[{},{}]}}"#, 2),
            // [{},{}]
            (r#"{"contents":[{"uri":"x:y","blob":"W3t9LHt9XQ=="}]}"#, 2),
            (
                r#"{"content":[{"type":"resource","resource":{"uri":"x:y","blob":"W3t9LHt9XQ"}}]}"#,
                2,
            ),
            (r#"{"content":[{"text":"[1,2]\n[3,4]\n[5,6]"}]}"#, 3),
            (r#"{"content":[{"text":"as in [1], [2] and [ ]"}]}"#, 0),
            (r#"{"content":[{"text":"\"[{},{}]\""}]}"#, 2),
            // [{},{},{"a":"bcdefgh"}], in prose and in data.
            (
                r#"{"content":[{"text":"see W3t9LHt9LHsiYSI6ImJjZGVmZ2gifV0= ok"}]}"#,
                3,
            ),
            (
                r#"{"structuredContent":{"a":"W3t9LHt9LHsiYSI6ImJjZGVmZ2gifV0"}}"#,
                3,
            ),
            (
                r#"{"content":[{"text":"[{}] W3t9LHt9LHsiYSI6ImJjZGVmZ2gifV0="}]}"#,
                4,
            ),
            // Cut off, and keys that stand twice.
            (r#"{"content":[{"text":"[{\"a\":1},{\"a\":2},{\"a\""}]}"#, 4),
            (r#"{"content":[{"text":"{\"a\":[{},{}],\"a\":1}"}]}"#, 4),
        ] {
            assert_eq!(count(parsed(result).unwrap()), wanted, "{result}");
        }
    }

    #[test]
    fn brackets_before_records_hide_none() {
        let rows = "{},".repeat(10_000);
        let text = format!("{}[{rows}{{}}]", "[".repeat(40));
        let result = format!(r#"{{"content":[{{"text":"{text}"}}]}}"#);
        assert!(count(parsed(&result).unwrap()) > 10_000);
    }

    #[test]
    fn nobody_else_says_how_many_were_cut() {
        let meta = r#"{"a":1,"dev.keepgate/records_cut":0}"#;
        assert_eq!(
            told(parsed(meta), 7),
            r#"{"a":1,"dev.keepgate/records_cut":7}"#
        );
        assert_eq!(told(None, 7), r#"{"dev.keepgate/records_cut":7}"#);
    }
}
