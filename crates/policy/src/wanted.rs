//! Which parts of the input anything reads: the others need not be built.

use crate::load::survey::{Site, What};

/// Parts of the input that cost something to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted {
    pub(crate) arguments: bool,
    pub(crate) session: bool,
    pub(crate) request: bool,
    pub(crate) history: bool,
    pub(crate) flow: bool,
    pub(crate) approval: bool,
}

impl Wanted {
    /// Everything there is.
    pub(crate) const ALL: Self = Self {
        arguments: true,
        session: true,
        request: true,
        history: true,
        flow: true,
        approval: true,
    };

    /// What some rules read. One that takes the input as a whole reads everything.
    pub(crate) fn by(sites: &[Site]) -> Self {
        let mut wanted = Self::default();
        for mention in sites.iter().flat_map(|site| &site.mentions) {
            let What::Input { path, .. } = &mention.what else {
                continue;
            };
            match path.first().map(String::as_str) {
                None => return Self::ALL,
                Some("arguments") => wanted.arguments = true,
                Some("session") => wanted.session = true,
                Some("request") => wanted.request = true,
                Some("history") => wanted.history = true,
                Some("flow") => wanted.flow = true,
                Some("approval") => wanted.approval = true,
                Some(_) => {}
            }
        }
        wanted
    }

    /// What this and another want.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            arguments: self.arguments || other.arguments,
            session: self.session || other.session,
            request: self.request || other.request,
            history: self.history || other.history,
            flow: self.flow || other.flow,
            approval: self.approval || other.approval,
        }
    }
}
