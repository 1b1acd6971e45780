//! How a bundle stands: what is in force of it, when it was asked for, what went wrong.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use keepgate_admin::BundleStatus;
use keepgate_policy::LoadErrors;
use keepgate_policy::bundle::About;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Fetched;

/// Most errors that are shown.
const MOST_ERRORS: usize = 50;

/// How one bundle stands, for who fetches it and who shows it.
#[derive(Debug, Default)]
pub(in crate::serve) struct Standing(Mutex<Facts>);

#[derive(Debug, Default)]
struct Facts {
    about: Option<About>,
    /// What the server calls what is in force.
    etag: Option<String>,
    asked: Option<SystemTime>,
    answered: Option<SystemTime>,
    came: Option<SystemTime>,
    activated: Option<SystemTime>,
    trouble: Option<Trouble>,
    /// What was not taken last: the same again would not be either.
    rejected: Option<Rejected>,
    failures: u64,
    /// Failures since the last success.
    streak: u32,
    /// Whether the disk has not taken the active bundle.
    unkept: bool,
}

/// A bundle that was not taken.
#[derive(Debug)]
struct Rejected {
    fetched: Fetched,
    /// The policies it was tried with.
    generation: u64,
    /// Whether those do not load without it either.
    is_deferred: bool,
}

#[derive(Debug)]
struct Trouble {
    message: String,
    errors: Vec<String>,
}

impl Facts {
    fn reject(&mut self, rejected: Option<Rejected>, message: &str, errors: &LoadErrors) {
        self.failures += 1;
        self.streak = self.streak.saturating_add(1);
        self.rejected = rejected;
        let errors = errors.problems.iter().take(MOST_ERRORS);
        self.trouble = Some(Trouble {
            message: message.to_owned(),
            errors: errors.map(ToString::to_string).collect(),
        });
    }
}

impl Standing {
    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was kept has this tag.
    pub(super) fn remembers(&self, etag: Option<String>) {
        self.lock().etag = etag;
    }

    /// The tag to ask with.
    pub(super) fn etag(&self) -> Option<String> {
        self.lock().etag.clone()
    }

    /// It is asked for now.
    pub(super) fn asked(&self) {
        self.lock().asked = Some(SystemTime::now());
    }

    /// The server has nothing new.
    pub(super) fn unchanged(&self) {
        let mut facts = self.lock();
        facts.answered = Some(SystemTime::now());
        facts.trouble = None;
        facts.rejected = None;
        facts.streak = 0;
    }

    /// A bundle came.
    pub(super) fn came(&self) {
        let mut facts = self.lock();
        let now = Some(SystemTime::now());
        facts.answered = now;
        facts.came = now;
    }

    /// Whether what came is what was not taken before, under the policies of `generation`.
    pub(in crate::serve) fn knows_as_bad(&self, fetched: &Fetched, generation: u64) -> bool {
        let facts = self.lock();
        facts.rejected.as_ref().is_some_and(|known| {
            known.generation == generation && known.fetched.bytes == fetched.bytes
        })
    }

    /// It could not be had. Gives how often in a row that was so.
    pub(super) fn failed(&self, message: String) -> u32 {
        let mut facts = self.lock();
        facts.failures += 1;
        facts.streak = facts.streak.saturating_add(1);
        facts.trouble = Some(Trouble {
            message,
            errors: Vec::new(),
        });
        facts.streak
    }

    /// It came and was not taken.
    pub(in crate::serve) fn rejected(
        &self,
        fetched: Option<&Fetched>,
        errors: &LoadErrors,
        generation: u64,
    ) {
        let rejected = fetched.map(|fetched| Rejected {
            fetched: fetched.clone(),
            generation,
            is_deferred: false,
        });
        let message = "the bundle was not taken, the last good one stays in force";
        self.lock().reject(rejected, message, errors);
    }

    /// It came while the other policies do not load, whether it is with them or not.
    pub(in crate::serve) fn deferred(
        &self,
        fetched: &Fetched,
        errors: &LoadErrors,
        generation: u64,
    ) {
        let rejected = Rejected {
            fetched: fetched.clone(),
            generation,
            is_deferred: true,
        };
        let message = "the bundle waits for the other policies, which do not load; the last good one is active";
        self.lock().reject(Some(rejected), message, errors);
    }

    /// The other policies load: a bundle that waited for them is tried when it comes again. Gives whether one did.
    pub(in crate::serve) fn retry(&self) -> bool {
        let waited = self.lock().rejected.take_if(|it| it.is_deferred);
        waited.is_some()
    }

    /// The same as before came again and is not tried.
    pub(in crate::serve) fn rejected_again(&self) {
        let mut facts = self.lock();
        facts.failures += 1;
        facts.streak = facts.streak.saturating_add(1);
    }

    /// Whether what came last was not taken.
    pub(super) fn is_rejected(&self) -> bool {
        self.lock().rejected.is_some()
    }

    /// What is in force is this; `fresh` says that nothing newer is known to anybody.
    pub(super) fn in_force(&self, about: Option<About>, fresh: bool) {
        let mut facts = self.lock();
        if facts.about != about || facts.activated.is_none() {
            facts.activated = Some(SystemTime::now());
        }
        facts.about = about;
        if fresh {
            facts.trouble = None;
        }
    }

    /// What came is in force.
    pub(super) fn activated(&self, about: Option<About>, etag: Option<String>) {
        let mut facts = self.lock();
        facts.about = about;
        facts.etag = etag;
        facts.activated = Some(SystemTime::now());
        facts.trouble = None;
        facts.rejected = None;
        facts.streak = 0;
    }

    /// Notes whether the disk took the active bundle; gives whether that is news.
    pub(super) fn set_unkept(&self, unkept: bool) -> bool {
        let mut facts = self.lock();
        std::mem::replace(&mut facts.unkept, unkept) != unkept
    }

    /// Whether the disk has not taken the active bundle.
    pub(in crate::serve) fn is_unkept(&self) -> bool {
        self.lock().unkept
    }

    /// What went wrong last, if nothing went well since.
    pub(super) fn trouble(&self) -> Option<String> {
        let facts = self.lock();
        facts
            .trouble
            .as_ref()
            .map(|trouble| trouble.message.clone())
    }

    /// Failures since the last success.
    pub(super) fn streak(&self) -> u32 {
        self.lock().streak
    }

    /// Whether what is in force may not be the newest.
    pub(in crate::serve) fn is_stale(&self) -> bool {
        self.lock().trouble.is_some()
    }

    /// Tries that failed since the start.
    pub(in crate::serve) fn failures(&self) -> u64 {
        self.lock().failures
    }

    /// When it last came into force, or was last known to be the newest, in seconds of Unix time.
    pub(in crate::serve) fn last_success(&self) -> Option<f64> {
        let facts = self.lock();
        let last = if facts.trouble.is_some() {
            facts.activated
        } else {
            facts.answered.max(facts.activated)
        };
        let since = last?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(since.as_secs_f64())
    }

    /// The revision in force.
    pub(in crate::serve) fn revision(&self) -> Option<String> {
        let facts = self.lock();
        let about = facts.about.as_ref()?;
        about.revision.as_deref().map(str::to_owned)
    }

    /// All of it, for operators.
    pub(in crate::serve) fn status(&self, name: &str) -> BundleStatus {
        let facts = self.lock();
        let about = facts.about.as_ref();
        let signed = about.and_then(|about| about.signed.as_ref());
        let roots = about.map(|about| about.roots.iter().map(ToString::to_string).collect());
        let trouble = facts.trouble.as_ref();
        BundleStatus {
            name: name.to_owned(),
            kind: "snapshot",
            active_revision: about
                .and_then(|about| about.revision.as_deref())
                .map(str::to_owned),
            size: about.map(|about| about.size),
            last_request: text(facts.asked),
            last_successful_request: text(facts.answered),
            last_successful_download: text(facts.came),
            last_successful_activation: text(facts.activated),
            code: trouble.map(|_| "bundle_error"),
            message: trouble.map(|trouble| trouble.message.clone()),
            errors: trouble
                .map(|trouble| trouble.errors.clone())
                .unwrap_or_default(),
            etag: facts.etag.clone(),
            roots: roots.unwrap_or_default(),
            signed_by: signed.map(|signed| signed.key.clone().unwrap_or_default()),
            stale: trouble.is_some(),
            failures: facts.failures,
        }
    }
}

fn text(time: Option<SystemTime>) -> Option<String> {
    OffsetDateTime::from(time?).format(&Rfc3339).ok()
}
