//! Records: what counts as one, how many a result holds, and how a client is told that some were cut.

use keepgate_mcp::json::{Kind, Raw};

use super::text::{documents, parsed};

/// The key of `_meta` that says how many records were cut.
pub(super) const CUT: &str = "dev.keepgate/records_cut";

/// Whether a content block is one record: its text is one JSON object. Some servers give each item of a list a block.
pub(super) fn is_record(block: &[u8]) -> bool {
    let text = std::str::from_utf8(block)
        .ok()
        .and_then(parsed)
        .and_then(|block| block.member("text")?.string());
    text.is_some_and(|text| {
        text.trim_start().starts_with('{') && parsed(&text).is_some_and(Raw::is_object)
    })
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

/// How many records a result holds: the items of the outermost arrays of objects in `structuredContent` or, without that, in
/// the JSON of its texts, where each document that is an object counts as one if there are several.
pub(crate) fn count(result: Raw<'_>) -> u64 {
    if let Some(structured) = result.member("structuredContent") {
        return within(structured);
    }
    let content = result.member("content").into_iter();
    let contents = content.chain(result.member("contents"));
    let texts = contents.flat_map(Raw::items).filter_map(|block| {
        let inner = block.member("resource").unwrap_or(block);
        inner.member("text")?.string()
    });
    let (mut lone, mut records) = (0, 0);
    for text in texts {
        for (from, to) in documents(&text).ranges {
            match text.get(from..to).and_then(parsed) {
                Some(document) if document.is_object() && within(document) == 0 => lone += 1,
                Some(document) => records += within(document),
                None => {}
            }
        }
    }
    records + lone
}

fn within(value: Raw<'_>) -> u64 {
    match value.kind() {
        Kind::Object => value.members().map(|(_, value)| within(value)).sum(),
        Kind::Array => {
            let structured = |item: &Raw<'_>| matches!(item.kind(), Kind::Object | Kind::Array);
            value.items().filter(structured).count() as u64
        }
        Kind::Null | Kind::Bool | Kind::Number | Kind::String => 0,
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
            (
                r#"{"content":[{"text":"[{},{}]"}],"structuredContent":{}}"#,
                0,
            ),
        ] {
            assert_eq!(count(parsed(result).unwrap()), wanted, "{result}");
        }
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
