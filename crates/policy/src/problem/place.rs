//! Where in a line a problem is, and how the line is shown.

use super::Excerpt;

/// Most characters of a line that are shown.
const MAX_SHOWN: usize = 120;
/// Most characters shown before the place, when the line must be cut.
const MAX_BEFORE: usize = 80;
/// What the parser counts for a tab.
const TAB: usize = 4;

/// How many characters stand before what the parser calls `column` (from 1; bytes, a tab counts four).
pub(super) fn characters(line: &str, column: u32) -> usize {
    let mut left = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let mut count = 0;
    for letter in line.chars() {
        let wide = if letter == '\t' {
            TAB
        } else {
            letter.len_utf8()
        };
        if left < wide {
            break;
        }
        left -= wide;
        count += 1;
    }
    count
}

/// The line as it is shown, with `at` characters before the place.
pub(super) fn excerpt(line: &str, at: Option<usize>) -> Excerpt {
    let width = at.map_or(1, |at| word(line, at));
    let mut shown: Vec<char> = Vec::new();
    let mut before = at.map(|_| 0);
    for (index, letter) in line.trim_end().chars().enumerate() {
        match letter {
            '\t' => shown.extend([' '; TAB]),
            // What a terminal would obey is not shown as it is.
            letter if letter.is_control() => shown.push('\u{fffd}'),
            letter => shown.push(letter),
        }
        if at.is_some_and(|at| index + 1 == at) {
            before = Some(shown.len());
        }
    }
    let cut = before.map_or(0, |before| before.saturating_sub(MAX_BEFORE));
    if shown.len() <= MAX_SHOWN {
        return Excerpt {
            text: shown.into_iter().collect(),
            before,
            width,
        };
    }
    let mut text: String = shown.iter().skip(cut).take(MAX_SHOWN).collect();
    if shown.len() > cut + MAX_SHOWN {
        text.push_str(" ..");
    }
    Excerpt {
        text,
        before: before.map(|before| before - cut),
        width: width.min(MAX_SHOWN - MAX_BEFORE),
    }
}

/// Characters of the name or path at a place, at least 1.
fn word(line: &str, at: usize) -> usize {
    let part = |letter: &char| letter.is_alphanumeric() || matches!(letter, '_' | '.');
    line.chars().skip(at).take_while(part).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::{characters, excerpt};

    #[test]
    fn columns_are_counted_in_characters() {
        for (line, column, count) in [
            ("deny", 1, 0),
            ("\tdeny", 5, 1),
            ("\t\tx := y", 14, 7),
            ("\"ä\" in x", 6, 4),
            ("short", 99, 5),
            ("", 1, 0),
        ] {
            assert_eq!(characters(line, column), count, "{line}");
        }
    }

    #[test]
    fn the_caret_stands_under_the_word() {
        let shown = excerpt("\tnot startwith(x, \"a\")", Some(5));
        assert_eq!(shown.text, "    not startwith(x, \"a\")");
        assert_eq!((shown.before, shown.width), (Some(8), 9));
        let whole = excerpt("x\u{1b}[31m", None);
        assert_eq!((whole.text.as_str(), whole.before), ("x\u{fffd}[31m", None));
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = format!("{}here{}", "x ".repeat(100), " y".repeat(100));
        let shown = excerpt(&line, Some(200));
        let before = shown.before.unwrap();
        assert!(
            shown
                .text
                .chars()
                .skip(before)
                .collect::<String>()
                .starts_with("here")
        );
        assert_eq!(shown.text.chars().count(), 123);
    }
}
