//! Why a command did not do what it was asked, with the code to end with.

use std::error::Error;
use std::io;

use crate::exit::Exit;

/// A command's end that is not success.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    report: String,
    broken_pipe: bool,
}

impl Failure {
    /// Ends with `exit` after showing `report`.
    pub(crate) fn new(exit: Exit, report: impl Into<String>) -> Self {
        Self {
            exit,
            report: report.into(),
            broken_pipe: false,
        }
    }

    /// Ends with `exit` when everything there is to say was said.
    pub(crate) fn told(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// Ends with `exit` after showing the error and what caused it.
    pub(crate) fn caused(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, chain(error))
    }

    /// Adds what to do.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.report.push_str("\n  hint: ");
        self.report.push_str(hint);
        self
    }

    /// Says `first` before everything else, where there is anything to say.
    pub(crate) fn before(mut self, first: &str) -> Self {
        if !self.report.is_empty() && !self.broken_pipe {
            self.report = format!("{first}: {}", self.report);
        }
        self
    }

    /// The code to end with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// What to show; empty when all was said.
    pub(crate) fn report(&self) -> &str {
        &self.report
    }

    /// Whether only the reader of our output went away.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }
}

impl From<io::Error> for Failure {
    /// An error of writing output; errors of files have a type of their own that names the file.
    fn from(error: io::Error) -> Self {
        let broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self {
            broken_pipe,
            ..Self::caused(Exit::State, &error)
        }
    }
}

/// The error and its causes, outermost first, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
