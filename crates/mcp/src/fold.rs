//! Names as the most forgiving reader sees them.
//!
//! Go's `encoding/json` matches members of an object by Unicode case folding, C# and Java readers by their own tables, and
//! some readers normalise first. Two names that any of them may take for one fold to the same text here: NFKC, full upper
//! then lower case (which covers full case folding), without default-ignorable characters.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;

/// The folded form of a name. Borrows where nothing changes, which is what almost every name does.
pub fn folded(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        return if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
    }
    let normal = ComposingNormalizerBorrowed::new_nfkc();
    let plain: String = normal
        .normalize(name)
        .chars()
        .filter(|character| !is_ignorable(*character))
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect();
    // Case mapping may leave what composes.
    Cow::Owned(normal.normalize(&plain).into_owned())
}

/// The first folded form that two of `names` share.
pub fn twin<'a, I>(names: I) -> Option<Cow<'a, str>>
where
    I: IntoIterator<Item = &'a str>,
{
    let mut folded: Vec<Cow<'a, str>> = names.into_iter().map(folded).collect();
    folded.sort_unstable();
    let mut pairs = folded.windows(2);
    pairs.find_map(|pair| match pair {
        [one, two] if one == two => Some(one.clone()),
        _ => None,
    })
}

/// Characters that are not shown and that NFKC_Casefold takes out (Unicode, Default_Ignorable_Code_Point).
fn is_ignorable(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::{folded, twin};

    #[test]
    fn names_that_some_reader_takes_for_one_fold_to_one_text() {
        for (name, folds) in [
            ("path", "path"),
            ("PATH", "path"),
            ("pAth", "path"),
            // U+017F LONG S, U+212A KELVIN SIGN: what Go folds into ASCII.
            ("u\u{17f}er", "user"),
            ("\u{212a}ey", "key"),
            // Full width, a ligature, a superscript.
            ("\u{ff50}\u{ff41}\u{ff54}\u{ff48}", "path"),
            ("\u{fb01}le", "file"),
            ("x\u{b2}", "x2"),
            ("stra\u{df}e", "strasse"),
            ("STRASSE", "strasse"),
            ("\u{3a3}\u{3c2}", "\u{3c3}\u{3c3}"),
            // Decomposed and composed.
            ("e\u{301}", "\u{e9}"),
            ("\u{c9}", "\u{e9}"),
            // Characters nobody sees.
            ("pa\u{200b}th", "path"),
            ("pa\u{ad}th\u{feff}", "path"),
        ] {
            assert_eq!(folded(name), folds, "{name:?}");
        }
    }

    #[test]
    fn other_names_stay_apart() {
        for (one, other) in [
            ("path", "paths"),
            ("a_b", "a-b"),
            ("a", "\u{430}"),
            ("", " "),
        ] {
            assert_ne!(folded(one), folded(other));
        }
        assert_eq!(twin(["b", "a", "B"]).as_deref(), Some("b"));
        assert_eq!(twin(["b", "a", "c"]), None);
    }
}
