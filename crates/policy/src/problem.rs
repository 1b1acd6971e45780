//! What is wrong with a set of policy files, all of it at once, each with its place and a hint.

use std::fmt;
use std::path::{Path, PathBuf};

mod place;

/// One thing wrong with one policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as found under the configured directory.
    pub file: PathBuf,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: u32,
    /// Column, from 1; 0 when the whole line is meant.
    pub column: u32,
    /// What is wrong: lower case, no full stop, value last in backticks.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line itself, when there is one; `{:#}` shows it.
    pub excerpt: Option<Box<Excerpt>>,
}

/// The line a problem is on, as it can be shown: tabs are spaces, control characters are gone, long lines are cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The text of the line.
    pub text: String,
    /// Characters before the place; none when the whole line is meant.
    pub before: Option<usize>,
    /// Characters of the word at the place, at least 1.
    pub width: usize,
}

impl Problem {
    pub(crate) fn at(file: &Path, line: u32, column: u32, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            column,
            message: message.into(),
            hint: None,
            excerpt: None,
        }
    }

    pub(crate) fn whole(file: &Path, message: impl Into<String>) -> Self {
        Self::at(file, 0, 0, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the line out of the file's text, and counts the column in characters: the parser counts bytes, and four
    /// for a tab.
    pub(crate) fn quoting(mut self, text: &str) -> Self {
        let index = usize::try_from(self.line).unwrap_or(0).checked_sub(1);
        if let Some(line) = index.and_then(|index| text.lines().nth(index)) {
            let at = (self.column > 0).then(|| place::characters(line, self.column));
            if let Some(at) = at {
                self.column = u32::try_from(at.saturating_add(1)).unwrap_or(u32::MAX);
            }
            self.excerpt = Some(Box::new(place::excerpt(line, at)));
        }
        self
    }
}

/// One line: place and message, the hint below. `{:#}` shows the line of the file between them.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        write!(f, ": {}", self.message)?;
        if let (true, Some(excerpt)) = (f.alternate(), &self.excerpt) {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            write!(f, "\n {number} | {}", excerpt.text)?;
            if let Some(before) = excerpt.before {
                let (gap, carets) = (" ".repeat(before), "^".repeat(excerpt.width));
                write!(f, "\n {margin} | {gap}{carets}")?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Why a set of policies was not taken into force: every problem found, in order of file, line and column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadErrors {
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl LoadErrors {
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| {
            (&a.file, a.line, a.column, &a.message).cmp(&(&b.file, b.line, b.column, &b.message))
        });
        problems.dedup();
        Self { problems }
    }
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if f.alternate() {
                write!(f, "{problem:#}")?;
            } else {
                write!(f, "{problem}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for LoadErrors {}
