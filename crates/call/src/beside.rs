//! What is noted of what other policies would have decided of a call.

use std::sync::{Arc, OnceLock};

/// Filled in once, where a candidate that is tried beside the policies in force would have decided otherwise.
#[derive(Debug, Default)]
pub struct BesideNote(OnceLock<Box<Beside>>);

/// Another decision; nothing follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// `would_allow`, `would_approve`, `would_deny`, or of lists `would_show`, `would_hide`.
    pub would: &'static str,
    /// The codes it would have been for, with spaces between them; empty for lists.
    pub codes: String,
    /// The revision of the candidate.
    pub revision: Arc<str>,
}

impl BesideNote {
    /// Notes it. Where several decisions of a call would have been others, the first stays.
    pub fn note(&self, beside: Beside) {
        let _first = self.0.set(Box::new(beside));
    }

    /// What was noted.
    pub fn noted(&self) -> Option<&Beside> {
        self.0.get().map(|beside| &**beside)
    }
}
