//! The top-level fields of the input.

use crate::load::survey::{Site, What};

/// A top-level field of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Approval,
    Arguments,
    Caller,
    Client,
    Completion,
    Definition,
    Flow,
    Grant,
    History,
    Method,
    Params,
    Phase,
    Prompt,
    Request,
    Resource,
    Response,
    Server,
    Session,
    Task,
    Tenant,
    Tool,
    Version,
}

impl Part {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 22] = [
        Self::Approval,
        Self::Arguments,
        Self::Caller,
        Self::Client,
        Self::Completion,
        Self::Definition,
        Self::Flow,
        Self::Grant,
        Self::History,
        Self::Method,
        Self::Params,
        Self::Phase,
        Self::Prompt,
        Self::Request,
        Self::Resource,
        Self::Response,
        Self::Server,
        Self::Session,
        Self::Task,
        Self::Tenant,
        Self::Tool,
        Self::Version,
    ];

    /// Those that say what a call is about.
    pub(crate) const SUBJECT: [Self; 6] = [
        Self::Completion,
        Self::Params,
        Self::Prompt,
        Self::Resource,
        Self::Task,
        Self::Tool,
    ];

    /// The part of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.word() == name)
    }

    /// Its name.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Arguments => "arguments",
            Self::Caller => "caller",
            Self::Client => "client",
            Self::Completion => "completion",
            Self::Definition => "definition",
            Self::Flow => "flow",
            Self::Grant => "grant",
            Self::History => "history",
            Self::Method => "method",
            Self::Params => "params",
            Self::Phase => "phase",
            Self::Prompt => "prompt",
            Self::Request => "request",
            Self::Resource => "resource",
            Self::Response => "response",
            Self::Server => "server",
            Self::Session => "session",
            Self::Task => "task",
            Self::Tenant => "tenant",
            Self::Tool => "tool",
            Self::Version => "version",
        }
    }
}

/// Which parts anything reads: the others need not be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wanted(u32);

impl Wanted {
    /// Every part.
    pub(crate) const ALL: Self = Self(u32::MAX);

    /// What some rules read. One that takes the input as a whole reads everything.
    pub(crate) fn by(sites: &[Site]) -> Self {
        let mut wanted = Self::default();
        for mention in sites.iter().flat_map(|site| &site.mentions) {
            let What::Input { path, .. } = &mention.what else {
                continue;
            };
            match path.first() {
                None => return Self::ALL,
                Some(name) => wanted.0 |= Part::named(name).map_or(0, |part| 1 << part as u32),
            }
        }
        wanted
    }

    /// Whether this part is among them.
    pub(crate) const fn has(self, part: Part) -> bool {
        self.0 & (1 << part as u32) != 0
    }

    /// What this and another want.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_as_listed_and_found_by_name() {
        for (number, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(
                (part as usize, Part::named(part.word())),
                (number, Some(part))
            );
            assert!(Wanted::ALL.has(part) && !Wanted::default().has(part));
        }
        assert_eq!(Part::named("tools"), None);
    }
}
