//! Hostile texts on pages.

use proptest::prelude::*;

use super::*;

#[test]
fn markup_and_what_hides_are_shown_and_never_act() {
    for (text, html) in [
        ("plain", "plain"),
        (
            "<script>alert('1')</script>&\"",
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;",
        ),
        ("a\u{202e}b", "a<i class=\"esc\">\\u{202e}</i>b"),
        ("\0\u{200b}", "<i class=\"esc\">\\u{0}\\u{200b}</i>"),
        (
            "a\nb\tc",
            "a<i class=\"esc\">\\n</i>\nb<i class=\"esc\">\\t</i>c",
        ),
        // An escape that the text spells itself is not marked as one.
        ("\\u{202e}\u{b7}", "\\u{202e}\u{b7}"),
        // Spaces that are not seen, or not counted.
        ("a b", "a b"),
        (
            " a  b ",
            "<i class=\"esc\">\u{b7}</i>a<i class=\"esc\">\u{b7}\u{b7}</i>b<i class=\"esc\">\u{b7}</i>",
        ),
        (
            "a \n b",
            "a<i class=\"esc\">\u{b7}\\n</i>\n<i class=\"esc\">\u{b7}</i>b",
        ),
        (" ", "<i class=\"esc\">\u{b7}</i>"),
    ] {
        let expected = format!("<bdi class=\"text\" dir=\"ltr\">{html}</bdi>");
        assert_eq!(Hostile::whole(text).to_string(), expected, "{text:?}");
    }
    let brief = Hostile::brief("a\nb").to_string();
    assert_eq!(brief, "<bdi dir=\"ltr\">a<i class=\"esc\">\\n</i>b</bdi>");
}

/// Text alone: an element in a title is shown as its source.
#[test]
fn a_title_holds_no_element() {
    for (text, title) in [
        ("a<b>\u{202e} ", "a&lt;b&gt;\\u{202e}\u{b7}".to_owned()),
        (&"x".repeat(81), format!("{}\u{2026}", "x".repeat(80))),
    ] {
        assert_eq!(Hostile::title(text).to_string(), title);
    }
}

/// Two texts that differ at the end alone are not alike at a glance.
#[test]
fn both_ends_of_a_long_text_are_seen_at_once() {
    let text = format!("/srv/{}/../../etc/shadow", "x".repeat(1 << 12));
    for hostile in [Hostile::whole(&text), Hostile::brief(&text)] {
        let html = hostile.to_string();
        let seen = html.split("</summary>").next().unwrap();
        assert!(
            seen.contains("/srv/xxx") && seen.contains("../../etc/shadow"),
            "{seen}"
        );
        assert!(seen.contains("4,118 characters"), "{seen}");
    }
}

#[test]
fn long_texts_are_folded_under_length_and_hash_and_never_cut() {
    let text = "x".repeat(1 << 20);
    let html = Hostile::whole(&text).to_string();
    assert!(html.contains(&text));
    assert!(
        html.starts_with("<details class=\"fold\"><summary>"),
        "{}",
        &html[..80]
    );
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(html.contains(&format!("1,048,576 characters, SHA-256 {hex}")));
    let brief = Hostile::brief(&text).to_string();
    assert!(
        brief.len() < 300 && brief.contains("1,048,576 characters"),
        "{brief}"
    );
    assert!(
        !Hostile::whole(&"x".repeat(FOLD))
            .to_string()
            .contains("details")
    );
}

proptest! {
    /// Whatever it is: no tag but our own, nothing hidden, and what was written can be read back.
    #[test]
    fn any_text_is_inert_and_whole(text in "\\PC*|.*|[<>&\"'\u{202a}-\u{202e}\u{2066}-\u{2069}\u{0}-\u{1f}\u{200b}-\u{200f}]{0,900}") {
        prop_assert_eq!(Hostile::title(&text).to_string().find(['<', '>']), None);
        for html in [Hostile::whole(&text).to_string(), Hostile::brief(&text).to_string()] {
            let hidden = html.chars().find(|it| is_hidden(*it) && *it != '\n');
            prop_assert_eq!(hidden, None);
            prop_assert_eq!(without_our_tags(&html).find(['<', '>']), None);
        }
        let whole = Hostile::whole(&text).to_string();
        let (_, body) = whole.rsplit_once("<bdi class=\"text\" dir=\"ltr\">").unwrap();
        let shown = body.replace("</i>\n", "</i>").replace("</details>", "").replace("</bdi>", "");
        prop_assert_eq!(without_our_tags(&shown), expected(&text));
    }
}

fn without_our_tags(html: &str) -> String {
    let tags = [
        "<bdi class=\"text\" dir=\"ltr\">",
        "<bdi dir=\"ltr\">",
        "</bdi>",
        "<i class=\"esc\">",
        "</i>",
        "<small>",
        "</small>",
        "<details class=\"fold\">",
        "</details>",
        "<summary>",
        "</summary>",
    ];
    tags.iter()
        .fold(html.to_owned(), |html, tag| html.replace(tag, ""))
}

/// The text as a reader sees it.
fn expected(text: &str) -> String {
    let mut out = String::new();
    let all: Vec<char> = text.chars().collect();
    let is_end = |at: Option<usize>| {
        let it = at.and_then(|at| all.get(at));
        it.is_none_or(|it| [' ', '\n', '\r', '\t'].contains(it))
    };
    for (at, character) in text.chars().enumerate() {
        match character {
            ' ' if is_end(at.checked_sub(1)) || is_end(at.checked_add(1)) => out.push('\u{b7}'),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ if is_hidden(character) => {
                out.push_str(&format!("\\u{{{:x}}}", u32::from(character)))
            }
            _ => out.push(character),
        }
    }
    out
}
