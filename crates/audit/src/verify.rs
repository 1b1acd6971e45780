//! Verifies a log offline, with its public key alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::key::PublicKey;
use crate::record::Kind;

mod calls;
mod check;
mod files;

/// Why a log could not be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory could not be read, or is no log.
    #[error("failed to read the log: `{path}`")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Problem {
    /// A checkpoint is missing, malformed or not signed by the key given.
    Signature,
    /// A checkpoint is of another log than the key.
    Origin,
    /// Records that a checkpoint covers are gone.
    Truncated,
    /// The log has another history than a checkpoint given to verify against.
    Rewritten,
    /// Records, tiles and root do not agree.
    Hash,
    /// A record is not canonical, has unknown members, or is out of order.
    Record,
    /// An outcome has no earlier intent.
    Intent,
    /// More records lie beyond the last checkpoint than a crash can leave.
    Unsigned,
    /// A file is missing, unreadable or does not belong.
    File,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub problem: Problem,
    /// Where: a file, or `record <index>`.
    pub place: String,
    /// What was found.
    pub what: String,
    /// What it may mean and what to do.
    pub hint: &'static str,
}

/// The outcome in one word; each has an exit code of its own in the CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything agrees, and every record is under a signed checkpoint.
    Sound,
    /// Everything agrees; the last few records are not signed yet (a running log, or one killed before it could).
    SoundUnsigned,
    /// No checkpoint of this log is signed by the key given.
    Unsigned,
    /// Records that were signed are gone.
    Truncated,
    /// Something was changed.
    Tampered,
    /// Nothing was changed, but an outcome has no intent: a call was made that was not announced.
    Unannounced,
}

/// A checkpoint kept elsewhere, such as a signed note sent to a SIEM.
#[derive(Debug, Clone)]
pub struct Against {
    /// Where it comes from, for the report.
    pub name: String,
    /// The signed note.
    pub note: Vec<u8>,
}

/// What verification found.
#[derive(Debug, Clone)]
pub struct Report {
    /// The log's name.
    pub origin: String,
    /// Records read.
    pub records: u64,
    /// Records under the log's own signed checkpoint; 0 when it has none.
    pub signed: u64,
    /// Whole records beyond that checkpoint.
    pub unsigned: u64,
    /// Bytes of a torn record at the very end; never acknowledged, cut at the next start.
    pub torn_bytes: u64,
    /// Records by kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// Intents without an outcome: running, or cut by a crash. The upstream may have acted.
    pub unfinished: u64,
    /// First records whose equal ones were still being counted when the log broke off, or are: how many followed each
    /// within `repeat.within_s` is not known.
    pub uncounted: u64,
    /// What is wrong, in the order found; at most 100, the rest is counted.
    pub findings: Vec<Finding>,
    /// Findings beyond the first 100.
    pub more_findings: u64,
}

/// Findings that are kept; a log that is wrong all over needs no longer list.
const MAX_FINDINGS: usize = 100;

impl Report {
    fn new(origin: &str) -> Self {
        Self {
            origin: origin.to_owned(),
            records: 0,
            signed: 0,
            unsigned: 0,
            torn_bytes: 0,
            kinds: BTreeMap::new(),
            unfinished: 0,
            uncounted: 0,
            findings: Vec::new(),
            more_findings: 0,
        }
    }

    /// The outcome in one word; the gravest finding decides.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let worst = self
            .findings
            .iter()
            .map(|finding| finding.problem.gravity())
            .max();
        match worst {
            Some(Gravity::Unsigned) => Verdict::Unsigned,
            Some(Gravity::Tampered) => Verdict::Tampered,
            Some(Gravity::Truncated) => Verdict::Truncated,
            Some(Gravity::Unannounced) => Verdict::Unannounced,
            None if self.unsigned > 0 || self.torn_bytes > 0 => Verdict::SoundUnsigned,
            None => Verdict::Sound,
        }
    }

    fn find(&mut self, problem: Problem, place: impl Into<String>, what: impl Into<String>) {
        if self.findings.len() == MAX_FINDINGS {
            self.more_findings += 1;
            return;
        }
        let finding = Finding {
            problem,
            place: place.into(),
            what: what.into(),
            hint: problem.hint(),
        };
        self.findings.push(finding);
    }
}

/// How grave a finding is, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gravity {
    Unannounced,
    Truncated,
    Tampered,
    Unsigned,
}

impl Problem {
    const fn gravity(self) -> Gravity {
        match self {
            Self::Signature | Self::Origin => Gravity::Unsigned,
            Self::Truncated => Gravity::Truncated,
            Self::Rewritten | Self::Hash | Self::Record | Self::Unsigned | Self::File => {
                Gravity::Tampered
            }
            Self::Intent => Gravity::Unannounced,
        }
    }

    const fn hint(self) -> &'static str {
        match self {
            Self::Signature => {
                "use the public key that was kept when the log was made; if it is the right one, the checkpoint was replaced"
            }
            Self::Origin => {
                "the checkpoint is of another log: compare its first line with the public key"
            }
            Self::Truncated => {
                "records were removed after they were signed; look for them in a backup or where events are sent"
            }
            Self::Rewritten => {
                "the log was written anew since that checkpoint was made; trust the checkpoint, not the log"
            }
            Self::Hash => "a file was changed after it was signed; compare it with a backup",
            Self::Record => "this was not written by Keepgate, or by another version of it",
            Self::Intent => {
                "a call was reported that was never announced; look for it in the upstream's own log"
            }
            Self::Unsigned => {
                "records were added by someone who has not the signing key, or the gateway could not sign for a while"
            }
            Self::File => {
                "files of the log were added, removed or cannot be read; compare with a backup"
            }
        }
    }
}

/// Recomputes leaves, tiles and root, and checks signatures, order and intents. Reads the log as a stream; a log that is
/// being written may be verified too.
///
/// `against` are checkpoints kept elsewhere: a log that lost or rewrote what they cover is found out even if its own
/// checkpoint was replaced by an older one.
///
/// # Errors
///
/// [`VerifyError`] when the directory cannot be read at all; everything else is a finding.
pub fn verify(
    directory: &Path,
    key: &PublicKey,
    against: &[Against],
) -> Result<Report, VerifyError> {
    let listed = std::fs::read_dir(directory);
    listed.map_err(|source| VerifyError::File {
        path: directory.into(),
        source,
    })?;
    Ok(check::Check::new(directory, key).run(against))
}

#[cfg(test)]
mod tests;
