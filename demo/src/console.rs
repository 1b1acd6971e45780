//! What people see: short aligned lines, in colour only on a terminal.

use std::io::{self, IsTerminal, Write};

/// Width of the column that says what was done.
const COLUMN: usize = 45;

/// How a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It was let through.
    Through,
    /// It was refused, as it should be.
    Refused,
    /// It is a fact, nothing more.
    Fact,
    /// It is not as it should be.
    Wrong,
}

impl Mark {
    fn sign(self) -> &'static str {
        match self {
            Self::Through => "✔",
            Self::Refused => "✘",
            Self::Fact => "·",
            Self::Wrong => "‼",
        }
    }

    /// Selects the colour (ECMA-48, 8.3.117).
    fn colour(self) -> &'static str {
        match self {
            Self::Through => "\x1b[32m",
            Self::Refused => "\x1b[33m",
            Self::Fact => "\x1b[2m",
            Self::Wrong => "\x1b[1;31m",
        }
    }
}

/// Standard output, line by line.
#[derive(Debug)]
pub struct Console {
    colour: bool,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// Colour if standard output is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn new() -> Self {
        Self {
            colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("{colour}{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A heading with an empty line above it.
    ///
    /// # Errors
    ///
    /// If standard output is gone.
    pub fn heading(&self, text: &str) -> io::Result<()> {
        self.print(&format!("\n{}", self.painted("\x1b[1m", text)))
    }

    /// One line: a mark, what was done, what came of it.
    ///
    /// # Errors
    ///
    /// If standard output is gone.
    pub fn line(&self, mark: Mark, what: &str, outcome: &str) -> io::Result<()> {
        let sign = self.painted(mark.colour(), mark.sign());
        let what = shortened(what, COLUMN);
        let padding = " ".repeat(COLUMN.saturating_sub(what.chars().count()));
        self.print(&format!("  {sign} {what}{padding}  {outcome}"))
    }

    /// A remark below a line.
    ///
    /// # Errors
    ///
    /// If standard output is gone.
    pub fn remark(&self, text: &str) -> io::Result<()> {
        let padding = " ".repeat(COLUMN);
        self.print(&format!("    {padding}  {}", self.painted("\x1b[2m", text)))
    }

    /// Text as it is.
    ///
    /// # Errors
    ///
    /// If standard output is gone.
    pub fn print(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout(), "{text}")
    }
}

/// The beginning of `text` on one line, at most `width` characters.
#[must_use]
pub fn shortened(text: &str, width: usize) -> String {
    let text = text.replace('\n', "; ");
    if text.chars().count() <= width {
        return text;
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn counts_characters_not_bytes() {
        assert_eq!(shortened("äöüß", 4), "äöüß");
        assert_eq!(shortened("äöüßx", 4), "äöü…");
    }
}
