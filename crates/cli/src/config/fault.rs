//! What is wrong with a configuration, where, and what to do: collected, then shown together.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use keepgate_mcp::visible::is_hidden;

/// Most faults that are kept; a file with more has one cause.
const MOST: usize = 50;
/// Longest part of a line that is shown, in characters.
const LONGEST_LINE: usize = 120;

/// Sections of a configuration in which no value can be a secret. Everywhere else, in a section that nobody knows, and where a
/// file cannot be read as YAML, values stay out of reports: those end up in logs.
const OPEN: [&str; 18] = [
    "admin",
    "approvals",
    "audit",
    "auth",
    "definitions",
    "hosts",
    "limits",
    "listen",
    "log",
    "mcp_server.name",
    "mcp_server.permissions",
    "origins",
    "public_url",
    "shadow",
    "state",
    "tls",
    "trusted_proxies",
    "version",
];
/// Longest value that is shown nevertheless, in bytes: no secret is so short.
const SHORT: usize = 7;

/// Whether a value at this path may be shown.
fn is_open(path: &str) -> bool {
    let within = |open: &&str| {
        let below = path.strip_prefix(*open);
        below.is_some_and(|below| below.is_empty() || below.starts_with(['.', '[']))
    };
    OPEN.iter().any(within)
}

/// A value as reports show it at `path`: the text, or only that it is one.
pub(crate) fn shown(path: &str, text: &str) -> String {
    if !is_open(path) && text.len() > SHORT {
        return "a text that is not shown".to_owned();
    }
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push_str("..");
    }
    format!("`{shown}`")
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Origin {
    /// Nowhere in particular: the file as a whole, or a default.
    #[default]
    Whole,
    /// A place in the file, both counted from 1.
    File {
        /// Which line.
        line: usize,
        /// Which character of it.
        column: usize,
    },
    /// An environment variable of this name.
    Variable(String),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    origin: Origin,
    path: String,
    message: String,
    hint: Option<String>,
}

impl Fault {
    /// A fault at `origin`, in the value at `path` (empty for the file as a whole).
    pub(crate) fn new(origin: Origin, path: &str, message: impl Into<String>) -> Self {
        Self {
            origin,
            path: path.to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    /// Says what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    list: Vec<Fault>,
    more: usize,
    private: BTreeSet<usize>,
}

impl Faults {
    /// Adds one.
    pub(crate) fn push(&mut self, fault: Fault) {
        if self.list.len() < MOST {
            self.list.push(fault);
        } else {
            self.more += 1;
        }
    }

    /// Keeps these lines out of the report: a secret may stand there, and reports end up in logs.
    pub(crate) fn hide_lines(&mut self, lines: RangeInclusive<usize>) {
        self.private.extend(lines);
    }

    /// Keeps the line of `origin` out of the report.
    pub(crate) fn hide(&mut self, origin: &Origin) {
        if let Origin::File { line, .. } = origin {
            self.private.insert(*line);
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All faults as text, in the order of the file, each with its line, then one line that counts them.
    pub(crate) fn render(mut self, file: &str, text: &str) -> String {
        self.list.sort_by_key(|fault| match fault.origin {
            Origin::Whole => (0, 0, 0),
            Origin::File { line, column } => (1, line, column),
            Origin::Variable(_) => (2, 0, 0),
        });
        let mut report = String::new();
        let lines: Vec<&str> = text.lines().collect();
        for fault in &self.list {
            report.push_str(&self.render_one(fault, file, &lines));
        }
        let count = self.list.len() + self.more;
        let noun = if count == 1 { "error" } else { "errors" };
        report.push_str(&format!("{count} {noun} in the configuration"));
        if self.more > 0 {
            report.push_str(&format!(", {} of them not shown", self.more));
        }
        report
    }

    /// One fault: where and what, the line it is in, the hint.
    fn render_one(&self, fault: &Fault, file: &str, lines: &[&str]) -> String {
        let place = match &fault.origin {
            Origin::Whole => file.to_owned(),
            Origin::File { line, column } => format!("{file}:{line}:{column}"),
            Origin::Variable(name) => name.clone(),
        };
        let colon = if fault.path.is_empty() { "" } else { ": " };
        let (path, message) = (printable(&fault.path), printable(&fault.message));
        let mut report = format!("{place}: {path}{colon}{message}\n");
        // A file that is one flow map has everything on its lines.
        let is_one_line = lines.iter().any(|line| line.starts_with('{'));
        if let Origin::File { line, column } = fault.origin
            && let Some(content) = lines.get(line.saturating_sub(1))
        {
            let is_hidden = self.private.contains(&line) || !is_open(&fault.path) || is_one_line;
            report.push_str(&render_line(line, column, content, is_hidden));
        }
        if let Some(hint) = &fault.hint {
            report.push_str(&format!("  hint: {}\n", printable(hint)));
        }
        report.push('\n');
        report
    }
}

/// The line a fault is in, with a mark below the place.
fn render_line(line: usize, column: usize, content: &str, is_hidden: bool) -> String {
    if is_hidden {
        return format!("  {line} | (not shown, a secret may stand here)\n");
    }
    let shown: String = content.chars().take(LONGEST_LINE).collect();
    let mut report = format!("  {line} | {}\n", printable(&shown));
    if column <= LONGEST_LINE {
        let before: String = content.chars().take(column.saturating_sub(1)).collect();
        let margin = line.to_string().len();
        let indent = printable(&before).chars().count();
        report.push_str(&format!("  {:margin$} | {:indent$}^\n", "", ""));
    }
    report
}

/// The text with control and direction characters spelled out: a file must not write to the operator's terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == '\t' {
            shown.push(' ');
        } else if is_hidden(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}
