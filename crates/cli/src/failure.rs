//! Why a command did not do what it was asked, with the code to end with.

use std::error::Error;
use std::io;

pub(crate) use keepgate_call::chain;
use serde_json::{Value, json};

use crate::exit::Exit;

/// A command's end that is not success.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    hints: Vec<String>,
    broken_pipe: bool,
}

impl Failure {
    /// Ends with `exit` after showing `report`.
    pub(crate) fn new(exit: Exit, report: impl Into<String>) -> Self {
        Self {
            exit,
            message: report.into(),
            hints: Vec::new(),
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
        self.hints.push(hint.to_owned());
        self
    }

    /// Says `first` before everything else, where there is anything to say.
    pub(crate) fn before(mut self, first: &str) -> Self {
        if !self.message.is_empty() && !self.broken_pipe {
            self.message = format!("{first}: {}", self.message);
        }
        self
    }

    /// The code to end with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Text for people; empty when the answer has everything.
    pub(crate) fn report(&self) -> String {
        let hints = self.hints.iter().map(|hint| format!("\n  hint: {hint}"));
        std::iter::once(self.message.clone()).chain(hints).collect()
    }

    /// The same for machines: one object.
    pub(crate) fn json(&self) -> Value {
        let mut error = serde_json::Map::new();
        error.insert("code".to_owned(), self.exit.as_str().into());
        error.insert("exit".to_owned(), self.exit.code().into());
        error.insert("message".to_owned(), self.message.clone().into());
        if !self.hints.is_empty() {
            error.insert("hint".to_owned(), self.hints.join("\n").into());
        }
        json!({"error": error})
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
