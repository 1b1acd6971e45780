//! "Did you mean": the known word nearest to an unknown one.

/// The nearest of `known` to `word`, when it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace) from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (candidate, cell) in other.iter().zip(row.iter_mut().skip(1)) {
            let above = *cell;
            left = (left + 1)
                .min(above + 1)
                .min(diagonal + usize::from(letter != *candidate));
            *cell = left;
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn counts_edits() {
        assert_eq!(distance("deny", "deny"), 0);
        assert_eq!(distance("denny", "deny"), 1);
        assert_eq!(distance("startwith", "startswith"), 1);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn offers_only_what_is_near() {
        assert_eq!(
            nearest("startwith", ["endswith", "startswith"]),
            Some("startswith")
        );
        assert_eq!(nearest("quux", ["endswith", "startswith"]), None);
    }
}
