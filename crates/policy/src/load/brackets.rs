//! A look at a policy's text before it is parsed.
//!
//! The parser takes twice as long for every level of brackets, recurses on the stack, and expands numbers with an
//! exponent, so nesting and numbers are bounded here, where a token costs a token. The tokens are the parser's own:
//! a second reading of strings and comments could be led astray.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;

use regorus::unstable::{Lexer, TokenKind};
use regorus::{PolicyLengthConfig, Source};

use super::locate;
use crate::problem::Problem;

/// Deepest nesting of `(`, `[` and `{` together.
pub(crate) const MAX_DEPTH: usize = 12;
/// Longest line, in characters.
const MAX_COLUMNS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4_095);
/// Most lines in a file.
const MAX_LINES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(19_999);
/// Largest text the parser is given; the reader of files caps it lower.
const MAX_BYTES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8 * 1024 * 1024);
/// Longest number, in characters.
const MAX_NUMBER: usize = 320;
/// Largest exponent of a number.
const MAX_EXPONENT: u32 = 308;

/// The limits the parser itself holds to.
pub(crate) fn limits() -> PolicyLengthConfig {
    PolicyLengthConfig {
        max_col: MAX_COLUMNS,
        max_file_bytes: MAX_BYTES,
        max_lines: MAX_LINES,
    }
}

/// Refuses a text that is not safe to hand to the parser.
pub(crate) fn check(path: &Path, text: &str) -> Result<(), Problem> {
    for (index, line) in text.lines().enumerate() {
        if line.chars().count() > MAX_COLUMNS.get() as usize {
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            return Err(Problem::at(
                path,
                number,
                0,
                format!("line longer than {MAX_COLUMNS} characters"),
            )
            .hint("break the line, and keep tables in `data.json`"));
        }
    }
    let name = path.display().to_string();
    let source = Source::from_contents_with_limits(name, text.to_owned(), MAX_BYTES, MAX_LINES)
        .map_err(|error| locate::problem(path, &error))?;
    let mut lexer = Lexer::new(&source);
    lexer.set_max_col(MAX_COLUMNS);
    let mut depth = 0_usize;
    loop {
        let token = lexer
            .next_token()
            .map_err(|error| locate::problem(path, &error))?;
        let span = &token.1;
        match token.0 {
            TokenKind::Eof => return Ok(()),
            TokenKind::Symbol => match span.text() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            },
            TokenKind::Number if !bounded(span.text()) => {
                return Err(Problem::at(
                    path,
                    span.line,
                    span.col,
                    "number out of range",
                ));
            }
            TokenKind::Number | TokenKind::String | TokenKind::RawString | TokenKind::Ident => {}
        }
        if depth > MAX_DEPTH {
            return Err(Problem::at(
                path,
                span.line,
                span.col,
                format!("brackets nested deeper than {MAX_DEPTH}"),
            )
            .hint("move the inner part to a rule of its own, or to `data.json`"));
        }
    }
}

fn bounded(number: &str) -> bool {
    let exponent = number
        .split(['e', 'E'])
        .nth(1)
        .map_or(Ok(0), |text| text.trim_start_matches(['+', '-']).parse());
    number.len() <= MAX_NUMBER && exponent.is_ok_and(|exponent: u32| exponent <= MAX_EXPONENT)
}
