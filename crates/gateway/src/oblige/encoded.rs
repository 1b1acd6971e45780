//! Base64 in text: runs of its alphabet long enough to hold something, as far as they are of text themselves.
//!
//! Each byte is of one run at most, and what is in a run is shorter than it: the search is linear, and so is the look into it.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::steps;

/// Shortest run that is looked into, in characters: 16 bytes without padding.
const SHORTEST: usize = 22;

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// A run of base64 that is of text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    /// The place of the run, its padding included.
    pub(super) from: usize,
    pub(super) to: usize,
    /// The text.
    pub(super) inner: String,
    is_url_safe: bool,
}

impl Encoded {
    /// `text` as it would be written in place of the run.
    pub(super) fn encode(&self, text: &str) -> String {
        match self.is_url_safe {
            true => URL_SAFE.encode(text),
            false => STANDARD.encode(text),
        }
    }
}

/// The runs of `text` that are of text, in order.
pub(super) fn runs(text: &str) -> Vec<Encoded> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    // From the end of a window, so that most text is passed over in steps of its length.
    while let Some(window) = bytes.get(at..at + SHORTEST) {
        if let Some(other) = window.iter().rposition(|byte| !is_digit(*byte)) {
            steps::add((SHORTEST - other) / 8 + 1);
            at += other + 1;
            continue;
        }
        let after = bytes.get(at..).unwrap_or_default();
        let digits = after.iter().take_while(|byte| is_digit(**byte)).count();
        let padding = after.iter().skip(digits).take(2);
        let length = digits + padding.take_while(|byte| **byte == b'=').count();
        steps::add(length / 8 + 1);
        let run = text.get(at..at + length).unwrap_or_default();
        found.extend(decoded(run, at));
        at += length;
    }
    found
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn decoded(run: &str, from: usize) -> Option<Encoded> {
    steps::add(run.len() / 4);
    let is_url_safe = memchr::memchr2(b'-', b'_', run.as_bytes()).is_some();
    let engine = if is_url_safe { &URL_SAFE } else { &STANDARD };
    let inner = String::from_utf8(engine.decode(run).ok()?).ok()?;
    let is_text = |byte: u8| byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r');
    inner.bytes().all(is_text).then(|| Encoded {
        from,
        to: from + run.len(),
        inner,
        is_url_safe,
    })
}

#[cfg(test)]
mod tests {
    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
    };

    use super::runs;

    const TEXT: &str = r#"{"name":"Al~~??>>","ssn":"078-05-1120"}"#;

    #[test]
    fn runs_of_text_are_found_wherever_they_stand() {
        for run in [
            STANDARD.encode(TEXT),
            STANDARD_NO_PAD.encode(TEXT),
            URL_SAFE.encode(TEXT),
            URL_SAFE_NO_PAD.encode(TEXT),
        ] {
            for (before, after) in [
                ("", ""),
                ("see ", " ok"),
                ("data:application/json;base64,", ""),
                ("a,", ";b"),
                ("short words of it, ", "\n"),
            ] {
                let text = format!("{before}{run}{after}");
                let found = runs(&text);
                assert_eq!(found.len(), 1, "{text}");
                assert_eq!(&text[found[0].from..found[0].to], run);
                assert_eq!(found[0].inner, TEXT);
            }
        }
        let two = format!(
            "{}.{}",
            STANDARD.encode(TEXT),
            STANDARD.encode("b".repeat(16))
        );
        assert_eq!(runs(&two).len(), 2);
    }

    #[test]
    fn what_is_short_or_binary_is_none() {
        for text in [
            "",
            "a text of ordinary words, none of which is long",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "c2hvcnQgdGV4dCBoZXJl",
            "/9j/4AAQSkZJRgABAQAAAQABAAD",
            "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
        ] {
            assert_eq!(runs(text), [], "{text}");
        }
    }
}
