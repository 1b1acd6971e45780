//! Turning the parser's and evaluator's errors into problems with a place.

use std::path::Path;

use crate::problem::Problem;

/// Reads `--> file:line:column` and the last `error:` out of an error's text; both are optional.
pub(crate) fn problem(path: &Path, error: &impl std::fmt::Display) -> Problem {
    let text = error.to_string();
    let (line, column) = place(&text);
    Problem::at(path, line, column, message(&text))
}

/// The sentence of an error, without the excerpt of source around it.
pub(crate) fn message(text: &str) -> String {
    let sentence = text
        .rsplit_once("\nerror: ")
        .map_or(text, |(_, sentence)| sentence);
    sentence
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

/// Line and column of an error, 0 when it does not say.
pub(crate) fn place(text: &str) -> (u32, u32) {
    let Some(arrow) = arrow(text) else {
        return (0, 0);
    };
    let mut parts = arrow.rsplitn(3, ':');
    let column = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let line = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    (line, column)
}

/// File, line and column of an error, as it tells them.
pub(crate) fn arrow(text: &str) -> Option<&str> {
    text.lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("--> "))
}
