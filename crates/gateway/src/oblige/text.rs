//! JSON inside text: the whole of it, one document a line, or documents in prose.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use keepgate_mcp::{Limits, json};

use super::{cursor::value_end, steps};

/// What one byte of a text may cost in looks, so that brackets without end are not slow.
const LOOKS: usize = 16;

/// JSON text inside JSON text is followed so deep.
pub(super) const NESTED: u8 = 4;

/// Base64 as anybody may write it, with padding or without.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The documents of a text, each an object or array.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Documents {
    /// Where they begin and end, in order.
    pub(super) ranges: Vec<(usize, usize)>,
    /// Something in it begins like a document and is none by our rules (cut off, doubled keys, too deep), or the search was
    /// given up.
    pub(super) doubtful: bool,
}

/// Judges a text by the rules of a message.
pub(super) fn parsed(text: &str) -> Option<json::Raw<'_>> {
    steps::add(text.len());
    let limits = Limits {
        bytes: text.len(),
        ..Limits::reply()
    };
    json::parse(text.as_bytes(), &limits).ok()
}

/// The text that `base64` is of; `None` if it is not of text.
pub(super) fn plain(base64: &str) -> Option<String> {
    steps::add(base64.len());
    let text = String::from_utf8(LENIENT.decode(base64).ok()?).ok()?;
    (!text.contains('\0')).then_some(text)
}

/// How many objects and arrays begin in a text, at most.
pub(super) fn brackets(text: &str) -> u64 {
    memchr::memchr2_iter(b'{', b'[', text.as_bytes()).count() as u64
}

/// Finds the documents of `text`.
pub(super) fn documents(text: &str) -> Documents {
    let bytes = text.as_bytes();
    let mut found = Documents::default();
    let mut budget = bytes.len().saturating_mul(LOOKS).saturating_add(4096);
    let mut at = 0;
    while let Some(rest) = bytes.get(at..)
        && let Some(step) = memchr::memchr2(b'{', b'[', rest)
    {
        let from = at + step;
        let begun = bytes.get(from..).unwrap_or_default();
        let end = value_end(begun).map(|end| from + end);
        let looked = end.map_or(begun.len(), |end| (end - from) * 2);
        let Some(left) = budget.checked_sub(looked) else {
            found.doubtful = true;
            return found;
        };
        budget = left;
        match end.filter(|end| text.get(from..*end).and_then(parsed).is_some()) {
            Some(end) => {
                found.ranges.push((from, end));
                at = end;
            }
            None => {
                found.doubtful |= begins_like_one(begun);
                at = from + 1;
            }
        }
    }
    found
}

fn begins_like_one(begun: &[u8]) -> bool {
    let rest = begun.get(1..).unwrap_or_default();
    let inner = rest.trim_ascii_start();
    steps::add(rest.len() - inner.len() + 1);
    match (begun.first(), inner.first()) {
        (Some(b'{'), first) => first == Some(&b'"'),
        (_, first) => matches!(first, Some(b'{' | b'[' | b'"')),
    }
}

/// The text with every `\uXXXX`, `\xXX` and `\"` in it read, as somebody may who is shown broken JSON; `None` if it has none.
pub(super) fn unescaped(text: &str) -> Option<String> {
    if !text.contains('\\') {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        steps::add(before.len() + 1);
        out.push_str(before);
        let digits = match after.bytes().next() {
            Some(b'u') => 4,
            Some(b'x') => 2,
            Some(_) | None => 0,
        };
        let read = after
            .get(1..=digits)
            .filter(|_| digits > 0)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .and_then(char::from_u32);
        match read {
            Some(character) => {
                out.push(character);
                rest = after.get(digits + 1..).unwrap_or_default();
            }
            None => rest = after,
        }
    }
    out.push_str(rest);
    Some(out)
}

/// `name` as readers see it that ignore case.
pub(super) fn folded(name: &str) -> String {
    steps::add(name.len());
    name.chars()
        .flat_map(char::to_lowercase)
        .map(|character| {
            if character == '\u{17f}' {
                's'
            } else {
                character
            }
        })
        .collect()
}

/// Whether a folded text has the folded `name` in it as a word of its own and, if `assigned`, a sign after it that says what
/// it is.
pub(super) fn names(text: &str, name: &str, assigned: bool) -> bool {
    if name.is_empty() {
        return false;
    }
    let is_inner = |c: char| c.is_alphanumeric() || c == '_';
    steps::add(text.len() + 1);
    text.match_indices(name).any(|(at, _)| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        let after = text.get(at + name.len()..).unwrap_or_default();
        let bounded = !before.is_some_and(is_inner) && !after.chars().next().is_some_and(is_inner);
        let sign = || {
            let sign = after.trim_start_matches(|c: char| " \"'`*\\)]".contains(c));
            steps::add(after.len() - sign.len());
            sign.starts_with([':', '=', '|', '\t', '>'])
        };
        bounded && (!assigned || sign())
    })
}

#[cfg(test)]
mod tests {
    use super::{Documents, documents, folded, names, unescaped};

    #[test]
    fn documents_are_found_in_prose() {
        let found = |text: &str| {
            let Documents { ranges, doubtful } = documents(text);
            let ranges = ranges.iter().map(|(from, to)| text[*from..*to].to_owned());
            (ranges.collect::<Vec<_>>().join(" ~ "), doubtful)
        };
        for (text, wanted, doubtful) in [
            ("nothing", "", false),
            (r#"{"a":1}"#, r#"{"a":1}"#, false),
            ("{\"a\":1}\n{\"a\":2}\n", "{\"a\":1} ~ {\"a\":2}", false),
            (r#"Found: [{"a":"]"}] and more"#, r#"[{"a":"]"}]"#, false),
            (r#"[note: {"a":1}"#, r#"{"a":1}"#, false),
            (r#"[{"a":1},{"a":"#, r#"{"a":1}"#, true),
            (r#"{"a":1,"a":2}"#, "", true),
            ("f(x) { return [1]; }", "[1]", false),
        ] {
            assert_eq!(found(text), (wanted.to_owned(), doubtful), "{text}");
        }
        let brackets = "[".repeat(100_000);
        assert!(documents(&brackets).doubtful);
    }

    #[test]
    fn a_name_is_found_as_a_word() {
        let text = folded("The SSN__c: 1, \u{17f}pecial, Nickname");
        assert!(names(&text, "ssn__c", true));
        assert!(names(&text, "special", false));
        assert!(!names(&text, "special", true));
        assert!(!names(&text, "name", false));
        assert_eq!(
            unescaped(r#"{\"\u0053SN\x5f\": "#).as_deref(),
            Some("{\"SSN_\": ")
        );
    }
}
