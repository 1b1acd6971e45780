//! Text of agents, servers and callers on a page. The one type that writes it: nothing acts, nothing hides, nothing is cut.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;
use keepgate_mcp::visible::is_hidden;
use sha2::{Digest, Sha256};

/// Characters up to which a text is in the page as it is; a longer one is folded.
const FOLD: usize = 400;
/// Characters of a folded text that are seen at once.
const HEAD: usize = 160;
/// Characters of a text in a line of a list, where the page behind it has all of it.
const BRIEF: usize = 120;

/// Text that others chose. It writes itself as HTML: markup as entities, and whatever is not seen, or changes how other text is
/// seen, as an escape that is marked as one.
#[derive(Debug, Clone)]
pub(crate) struct Hostile {
    text: Box<str>,
    is_brief: bool,
}

impl Hostile {
    /// All of the text. A long one is folded under its beginning, its length and its SHA-256.
    pub(crate) fn whole(text: &str) -> Self {
        Self {
            text: text.into(),
            is_brief: false,
        }
    }

    /// One line: the beginning of a long text, with its length.
    pub(crate) fn brief(text: &str) -> Self {
        Self {
            text: text.into(),
            is_brief: true,
        }
    }
}

// What `Display` writes is escaped already.
impl HtmlSafe for Hostile {}

impl fmt::Display for Hostile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_brief {
            write_brief(out, &self.text)
        } else {
            write_whole(out, &self.text)
        }
    }
}

/// The byte after the first `count` characters, if there are more.
fn end_of(text: &str, count: usize) -> Option<usize> {
    text.char_indices().nth(count).map(|(at, _)| at)
}

fn write_brief(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_str("<bdi dir=\"ltr\">")?;
    match end_of(text, BRIEF).and_then(|end| text.get(..end)) {
        None => escape(out, text, false)?,
        Some(head) => {
            escape(out, head, false)?;
            write!(out, "\u{2026} <small>{} characters</small>", grouped(text))?;
        }
    }
    out.write_str("</bdi>")
}

/// Writes all of a text.
pub(crate) fn write_whole(out: &mut impl Write, text: &str) -> fmt::Result {
    let body = |out: &mut dyn Write| {
        out.write_str("<bdi class=\"text\" dir=\"ltr\">")?;
        escape(&mut &mut *out, text, true)?;
        out.write_str("</bdi>")
    };
    let head = end_of(text, FOLD)
        .and_then(|_| end_of(text, HEAD))
        .and_then(|end| text.get(..end));
    let Some(head) = head else {
        return body(out);
    };
    out.write_str("<details class=\"fold\"><summary><bdi dir=\"ltr\">")?;
    escape(out, head, false)?;
    write!(
        out,
        "\u{2026}</bdi> <small>{} characters, SHA-256 ",
        grouped(text)
    )?;
    for byte in Sha256::digest(text.as_bytes()) {
        write!(out, "{byte:02x}")?;
    }
    out.write_str("</small></summary>")?;
    body(out)?;
    out.write_str("</details>")
}

/// Number of characters, in groups of three digits.
fn grouped(text: &str) -> String {
    let digits = text.chars().count().to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes `text` as HTML. A line break is shown, and kept where `keeps_lines`.
fn escape(out: &mut impl Write, text: &str, keeps_lines: bool) -> fmt::Result {
    let mut in_escape = false;
    for character in text.chars() {
        if is_hidden(character) {
            // One element for a run of them: a text of nothing else must not become a page of tags.
            if !in_escape {
                out.write_str("<i class=\"esc\">")?;
                in_escape = true;
            }
            match character {
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                _ => write!(out, "\\u{{{:x}}}", u32::from(character))?,
            }
            if character == '\n' && keeps_lines {
                out.write_str("</i>\n")?;
                in_escape = false;
            }
            continue;
        }
        if in_escape {
            out.write_str("</i>")?;
            in_escape = false;
        }
        match character {
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '&' => out.write_str("&amp;")?,
            '"' => out.write_str("&quot;")?,
            '\'' => out.write_str("&#39;")?,
            _ => out.write_char(character)?,
        }
    }
    if in_escape {
        out.write_str("</i>")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
