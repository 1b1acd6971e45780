//! Text of agents, servers and callers on a page. The one type that writes it: nothing acts, nothing hides, nothing is cut.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;
use keepgate_mcp::visible::is_hidden;
use sha2::{Digest, Sha256};

/// Characters up to which a text is in the page as it is; a longer one is folded.
const FOLD: usize = 400;
/// Characters of both ends of a folded text that are seen at once. Both, since the end of a path or of an address is often what
/// matters, and a flood in the middle must not hide it.
const FOLDED: Ends = Ends {
    head: 160,
    tail: 80,
};
/// Characters up to which a text is whole in a line of a list, where the page behind it has all of it.
const BRIEF: usize = 120;
/// Characters of both ends of a longer one.
const BRIEFED: Ends = Ends { head: 80, tail: 32 };
/// Characters of a text in the title of a page.
const TITLE: usize = 80;
/// Mark of a space that would not be seen or not be counted.
const SPACE: char = '\u{b7}';

/// Extent in which a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Brief,
    Title,
}

/// Numbers of characters at the two ends of a text.
#[derive(Debug, Clone, Copy)]
struct Ends {
    head: usize,
    tail: usize,
}

/// Text that others chose. It writes itself as HTML: markup as entities, and whatever is not seen, or changes how other text is
/// seen, as an escape that is marked as one. Spaces that a reader would not see or not count are marked dots.
#[derive(Debug, Clone)]
pub(crate) struct Hostile {
    text: Box<str>,
    extent: Extent,
}

impl Hostile {
    /// All of the text. A long one is folded under both its ends, its length and its SHA-256.
    pub(crate) fn whole(text: &str) -> Self {
        let extent = Extent::Whole;
        Self {
            text: text.into(),
            extent,
        }
    }

    /// One line: both ends of a long text, with its length.
    pub(crate) fn brief(text: &str) -> Self {
        let extent = Extent::Brief;
        Self {
            text: text.into(),
            extent,
        }
    }

    /// The beginning, without an element: a title holds text alone.
    pub(crate) fn title(text: &str) -> Self {
        let extent = Extent::Title;
        Self {
            text: text.into(),
            extent,
        }
    }
}

// What `Display` writes is escaped already.
impl HtmlSafe for Hostile {}

impl fmt::Display for Hostile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.extent {
            Extent::Whole => write_whole(out, &self.text),
            Extent::Brief => write_brief(out, &self.text),
            Extent::Title => write_title(out, &self.text),
        }
    }
}

/// The byte after the first `count` characters, if there are more.
fn end_of(text: &str, count: usize) -> Option<usize> {
    text.char_indices().nth(count).map(|(at, _)| at)
}

/// Head and tail of a text that has more than `most` characters; `None` for one that has not.
fn ends(text: &str, most: usize, Ends { head, tail }: Ends) -> Option<(&str, &str)> {
    end_of(text, most)?;
    let head = text.get(..end_of(text, head)?)?;
    let (begin, _) = text.char_indices().rev().nth(tail.saturating_sub(1))?;
    Some((head, text.get(begin..)?))
}

fn write_brief(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_str("<bdi dir=\"ltr\">")?;
    match ends(text, BRIEF, BRIEFED) {
        None => escape(out, text, Marks::Line)?,
        Some((head, tail)) => {
            escape(out, head, Marks::Line)?;
            out.write_char('\u{2026}')?;
            escape(out, tail, Marks::Line)?;
            write!(out, " <small>{} characters</small>", grouped(text))?;
        }
    }
    out.write_str("</bdi>")
}

fn write_title(out: &mut impl Write, text: &str) -> fmt::Result {
    match end_of(text, TITLE).and_then(|end| text.get(..end)) {
        None => escape(out, text, Marks::None),
        Some(head) => {
            escape(out, head, Marks::None)?;
            out.write_char('\u{2026}')
        }
    }
}

/// Writes all of a text.
pub(crate) fn write_whole(out: &mut impl Write, text: &str) -> fmt::Result {
    let body = |out: &mut dyn Write| {
        out.write_str("<bdi class=\"text\" dir=\"ltr\">")?;
        escape(&mut &mut *out, text, Marks::Lines)?;
        out.write_str("</bdi>")
    };
    let Some((head, tail)) = ends(text, FOLD, FOLDED) else {
        return body(out);
    };
    out.write_str("<details class=\"fold\"><summary><bdi dir=\"ltr\">")?;
    escape(out, head, Marks::Line)?;
    out.write_char('\u{2026}')?;
    escape(out, tail, Marks::Line)?;
    write!(out, "</bdi> <small>{} characters, SHA-256 ", grouped(text))?;
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

/// Way in which escapes differ from text that spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    /// By an element, on one line.
    Line,
    /// By an element; a line break is shown, and kept.
    Lines,
    /// Not at all, where no element may be.
    None,
}

/// Whether a reader would not see a space between these neighbours, or not count it: at an end of a line, or next to another.
fn is_unclear(before: Option<char>, after: Option<char>) -> bool {
    let is_end = |it: Option<char>| matches!(it, None | Some(' ' | '\n' | '\r' | '\t'));
    is_end(before) || is_end(after)
}

/// Writes `text` as HTML.
fn escape(out: &mut impl Write, text: &str, marks: Marks) -> fmt::Result {
    let (mut in_escape, mut before) = (false, None);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let is_unclear_space = character == ' ' && is_unclear(before, characters.peek().copied());
        before = Some(character);
        if is_unclear_space || is_hidden(character) {
            // One element for a run of them: a text of nothing else must not become a page of tags.
            if !in_escape && marks != Marks::None {
                out.write_str("<i class=\"esc\">")?;
                in_escape = true;
            }
            match character {
                ' ' => out.write_char(SPACE)?,
                '\n' => out.write_str("\\n")?,
                '\r' => out.write_str("\\r")?,
                '\t' => out.write_str("\\t")?,
                _ => write!(out, "\\u{{{:x}}}", u32::from(character))?,
            }
            if character == '\n' && marks == Marks::Lines {
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
