//! The policies in force: loading, swapping, judging.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::{Decision, Effect, Reason, Visible};
use crate::facts::{Facts, Item};
use crate::problem::LoadErrors;
use crate::settings::Settings;

/// The policies in force. Share it by `Arc`; all its methods take `&self`.
#[derive(Debug)]
pub struct Policy {
    revision: Arc<str>,
}

/// One set of policies that came into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Counts from 1, by one for each load that changed something.
    pub number: u64,
    /// Content hash of the files.
    pub revision: Arc<str>,
    /// How many policy and data files were read.
    pub files: usize,
    /// Whether this load changed anything.
    pub changed: bool,
}

impl Policy {
    /// Reads, checks and warms all policies under `directories` (recursively: `*.rego`, `data.json`, `data.yaml`;
    /// `*_test.rego` are left to [`crate::Settings`]' test runner).
    ///
    /// # Errors
    /// Every problem found in any file.
    pub fn load(_directories: &[PathBuf], _settings: &Settings) -> Result<Self, LoadErrors> {
        Ok(Self {
            revision: "".into(),
        })
    }

    /// Reads the directories again and, when all is well, puts the result into force at once. Calls being judged
    /// finish under the policies they began with.
    ///
    /// # Errors
    /// Every problem found; the policies in force stay.
    pub fn reload(&self) -> Result<Generation, LoadErrors> {
        Ok(Generation {
            number: 1,
            revision: Arc::clone(&self.revision),
            files: 0,
            changed: false,
        })
    }

    /// Content hash of the files in force, for audit records.
    #[must_use]
    pub fn revision(&self) -> Arc<str> {
        Arc::clone(&self.revision)
    }

    /// Judges one call. Synchronous, bounded by [`Settings::decision_limit`], without IO; whatever goes wrong is a
    /// refusal.
    #[must_use]
    pub fn judge(&self, _facts: &Facts<'_>) -> Decision {
        Decision {
            effect: Effect::Deny,
            reasons: vec![Reason::new(Reason::POLICY_UNDEFINED, "no policy is loaded")],
            revision: self.revision(),
            elapsed: Duration::ZERO,
        }
    }

    /// Says which items of a list the caller may see, in their order. `facts.phase` is taken as [`crate::Phase::List`]
    /// and `facts.subject` and `facts.arguments` are ignored.
    #[must_use]
    pub fn visible(&self, _facts: &Facts<'_>, items: &[Item<'_>]) -> Visible {
        Visible {
            shown: vec![false; items.len()],
            failure: Some(Reason::new(Reason::POLICY_UNDEFINED, "no policy is loaded")),
            revision: self.revision(),
            elapsed: Duration::ZERO,
        }
    }
}
