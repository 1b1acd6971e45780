//! The known word nearest to a mistyped one.

/// The word of `known` that `word` most likely means; `None` when none is close.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = fold(word);
    let limit = (word.len() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&word, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case and the choice of dash are the usual slips and cost nothing. Cut short, so that the work stays bounded.
fn fold(word: &str) -> Vec<char> {
    let letters = word.chars().take(64);
    letters
        .map(|letter| {
            if letter == '-' {
                '_'
            } else {
                letter.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Number of single letters to insert, remove, replace or swap with their neighbour.
fn distance(left: &[char], right: &[char]) -> usize {
    // Rows of the usual table: the one before last, the last, and the one being filled.
    let mut oldest: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut before_left = None;
    for (row, &from) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(last.len());
        current.push(row + 1);
        let mut before_right = None;
        for (column, &to) in right.iter().enumerate() {
            let at =
                |cells: &[usize], index: usize| cells.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut best = at(&last, column) + usize::from(from != to);
            best = best
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            if column > 0 && before_left == Some(to) && before_right == Some(from) {
                best = best.min(at(&oldest, column - 1).saturating_add(1));
            }
            current.push(best);
            before_right = Some(to);
        }
        oldest = std::mem::replace(&mut last, current);
        before_left = Some(from);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["listen", "public_url", "policies", "servers", "url"];
        for (word, expected) in [
            ("lisen", Some("listen")),
            ("Listen", Some("listen")),
            ("public-url", Some("public_url")),
            ("polices", Some("policies")),
            ("sevrers", Some("servers")),
            ("ulr", Some("url")),
            ("uri", Some("url")),
            ("telemetry", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }

    #[test]
    fn counts_single_letters() {
        let count = |left: &str, right: &str| distance(&fold(left), &fold(right));
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("abc", ""), 3);
        assert_eq!(count("abc", "abc"), 0);
        assert_eq!(count("abc", "acb"), 1);
        assert_eq!(count("kitten", "sitting"), 3);
    }
}
