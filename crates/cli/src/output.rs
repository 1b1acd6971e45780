//! The one way to standard output: text for people or one JSON value for machines.

use std::io::{self, Write};

use clap::ValueEnum;
use keepgate_mcp::visible::visible;
use serde::Serialize;

/// For whom answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON value, or one a line where there is no end.
    Json,
}

/// Standard output with the form that was asked for.
pub(crate) struct Output<'a> {
    format: Format,
    place: &'a mut dyn Write,
}

impl<'a> Output<'a> {
    /// Output in `format` to `place`.
    pub(crate) fn new(format: Format, place: &'a mut dyn Write) -> Self {
        Self { format, place }
    }

    /// Prints `value` for machines or what `text` makes of it for people.
    pub(crate) fn print<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> io::Result<()> {
        match self.format {
            Format::Text => self.place.write_all(on_terminal(&text(value)).as_bytes())?,
            Format::Json => {
                serde_json::to_writer(&mut self.place, value)?;
                self.place.write_all(b"\n")?;
            }
        }
        self.place.flush()
    }

    /// Prints an act that is done. What standard output does not take goes to standard error, and is no failure: it would read as
    /// if nothing had been done.
    pub(crate) fn report<T: Serialize>(&mut self, value: &T, text: impl FnOnce(&T) -> String) {
        let text = text(value);
        if let Err(error) = self.print(value, |_| text.clone()) {
            let said = writeln!(
                io::stderr(),
                "{}It is done. It could not be printed on standard output: {error}",
                on_terminal(&text)
            );
            // The code to end with is all that is left then.
            drop(said);
        }
    }

    /// The form that was asked for.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Prints one line for people; machines are not told.
    pub(crate) fn remark(&mut self, line: &str) -> io::Result<()> {
        match self.format {
            Format::Text => self.line(line),
            Format::Json => Ok(()),
        }
    }

    /// Prints one line of a protocol, whatever the form.
    pub(crate) fn raw(&mut self, line: &[u8]) -> io::Result<()> {
        self.place.write_all(line)?;
        self.place.write_all(b"\n")?;
        self.place.flush()
    }

    /// Prints one line as it is.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.place, "{line}")?;
        self.place.flush()
    }
}

/// A text of ours with texts of others in it: line by line, so that none of them acts on the terminal or begins a line.
fn on_terminal(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(visible).collect();
    lines.join("\n")
}

/// Rows under their headings, columns as wide as they need to be.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    let mut text = line(headings);
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::{Format, Output, table};

    /// A place that takes nothing, as a full disk.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn texts_of_others_do_not_act_on_the_terminal() {
        let mut printed = Vec::new();
        let mut output = Output::new(Format::Text, &mut printed);
        let text = "call a\u{1b}[31m\r\u{202e}b\tc\nid 1\n";
        output.print(&(), |()| text.to_owned()).unwrap();
        let expected = "call a\\u{1b}[31m\\u{d}\\u{202e}b\tc\nid 1\n";
        assert_eq!(String::from_utf8(printed).unwrap(), expected);
    }

    #[test]
    fn an_act_that_cannot_be_printed_is_done_all_the_same() {
        let mut full = Full;
        let mut output = Output::new(Format::Text, &mut full);
        assert!(output.print(&(), |()| "KILLED".to_owned()).is_err());
        // Returns: there is no failure to end with.
        output.report(&(), |()| "KILLED\n".to_owned());
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let rows = [
            ["a".to_owned(), "längst".to_owned()],
            ["four".to_owned(), String::new()],
        ];
        assert_eq!(table(["x", "y"], &rows), "x     y\na     längst\nfour\n");
    }
}
