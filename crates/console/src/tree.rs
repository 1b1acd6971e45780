//! Arguments on a page: every value with its type, numbers as they were written, texts as [`crate::text`] writes them.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;
use keepgate_mcp::json::{Kind, Limits, Raw, parse};

use crate::text::write_whole;

/// A JSON value as HTML.
#[derive(Debug, Clone)]
pub(crate) struct Tree(String);

// Written by this module alone, with hostile text escaped.
impl HtmlSafe for Tree {}

impl fmt::Display for Tree {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Tree {
    /// The value in this text. One that is no JSON, which nothing here writes, is shown as the text it is.
    pub(crate) fn of(json: &str) -> Self {
        let mut html = String::with_capacity(json.len() * 2);
        html.push_str("<div class=\"tree\">");
        // Writing to a string does not fail.
        let written = match parse(json.as_bytes(), &Limits::reply()) {
            Ok(value) => write_value(&mut html, value),
            Err(_fault) => write_whole(&mut html, json),
        };
        debug_assert!(written.is_ok());
        html.push_str("</div>");
        Self(html)
    }

    /// No arguments.
    pub(crate) fn none() -> Self {
        Self("<p class=\"help\">None.</p>".to_owned())
    }
}

fn write_value(out: &mut String, value: Raw<'_>) -> fmt::Result {
    match value.kind() {
        Kind::Object => {
            let count = value.members().count();
            write_type(out, "object", count)?;
            if count == 0 {
                return Ok(());
            }
            out.push_str("<ul>");
            for (name, member) in value.members() {
                out.push_str("<li><span class=\"key\">");
                write_whole(out, &name.string().unwrap_or_default())?;
                out.push_str("</span>");
                write_value(out, member)?;
                out.push_str("</li>");
            }
            out.push_str("</ul>");
        }
        Kind::Array => {
            let count = value.items().count();
            write_type(out, "array", count)?;
            if count == 0 {
                return Ok(());
            }
            out.push_str("<ul>");
            for (at, item) in value.items().enumerate() {
                write!(out, "<li><span class=\"key\">{at}</span>")?;
                write_value(out, item)?;
                out.push_str("</li>");
            }
            out.push_str("</ul>");
        }
        Kind::String => {
            let text = value.string().unwrap_or_default();
            if text.is_empty() {
                return write_type(out, "string", 0);
            }
            out.push_str("<span class=\"type\">string</span>");
            write_whole(out, &text)?;
        }
        Kind::Number => write_plain(out, "number", value)?,
        Kind::Bool => write_plain(out, "boolean", value)?,
        Kind::Null => write_plain(out, "null", value)?,
    }
    Ok(())
}

fn write_type(out: &mut String, name: &str, count: usize) -> fmt::Result {
    match count {
        0 => write!(out, "<span class=\"type\">{name}, empty</span>"),
        _ => write!(out, "<span class=\"type\">{name}, {count}</span>"),
    }
}

fn write_plain(out: &mut String, name: &str, value: Raw<'_>) -> fmt::Result {
    write!(out, "<span class=\"type\">{name}</span>")?;
    write_whole(out, value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_type_and_numbers_their_digits() {
        let html =
            Tree::of(r#"{"a":1.50e2,"b":[true,null,""],"c":{},"<b>":"\u202e<i>"}"#).to_string();
        for part in [
            "<span class=\"type\">object, 4</span>",
            "<span class=\"type\">number</span><bdi class=\"text\" dir=\"ltr\">1.50e2</bdi>",
            "<span class=\"type\">array, 3</span>",
            "<span class=\"type\">boolean</span>",
            "<span class=\"type\">null</span>",
            "<span class=\"type\">object, empty</span>",
            "<span class=\"type\">string, empty</span>",
            "&lt;b&gt;",
            "<i class=\"esc\">\\u{202e}</i>&lt;i&gt;",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn a_megabyte_and_the_deepest_value_are_shown_whole() {
        let long = "\\u0000<".repeat(1 << 16);
        let html = Tree::of(&format!("{{\"text\":\"{long}\"}}")).to_string();
        assert_eq!(html.matches("\\u{0}</i>&lt;").count(), (1 << 16) + 80 + 40);
        let deep = format!("{}1{}", "[".repeat(63), "]".repeat(63));
        assert_eq!(Tree::of(&deep).to_string().matches("array, 1").count(), 63);
        // Nothing that is no JSON is dropped.
        assert!(Tree::of("{\"a\":").to_string().contains("{&quot;a&quot;:"));
    }
}
