//! Acts whose record is missing: the gateway ended between the act and its record, the log did not take it, or no gateway
//! ran. They are written late, and say so.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use keepgate_audit::Kind;
use keepgate_store::kill::{Act, Kill, Ledger};

use super::Kills;

/// Age from which an act without a record is one that its own way has not recorded.
const AGE: Duration = Duration::from_secs(10);
/// Most late records of one look, and of a start: calls wait for it.
const AT_ONCE: usize = 256;
/// Most records that a start looks through. A record that is further back is written again: better twice than never.
const LOOK_BACK: u64 = 1_000_000;
/// Age of records that a start looks through beyond that of the oldest act: clocks are set back.
const MARGIN: Duration = Duration::from_secs(60 * 60);
/// The note of a record that a start has written.
const BY_START: &str = "written at a start: its gateway had ended before, or none ran";
/// The note of a record that was written later.
const BY_RETRY: &str = "written later: the audit log did not take it at once";

/// The note on a record of a kill.
#[derive(Debug)]
pub(super) enum Note {
    None,
    /// The rest that a kill has not reached.
    Partial(String),
    /// The reason it is late.
    Late(&'static str),
}

/// Acts whose records are on their way.
#[derive(Debug, Clone, Default)]
pub(super) struct Recording(Arc<Mutex<Acts>>);

type Acts = BTreeSet<(Arc<str>, Act)>;

impl Recording {
    /// Enters an act; `None` while a record of it is on its way already.
    pub(super) fn begin(&self, ledger: &Arc<Ledger>, id: &Arc<str>, act: Act) -> Option<OnItsWay> {
        let mut acts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        acts.insert((Arc::clone(id), act)).then(|| OnItsWay {
            recording: self.clone(),
            ledger: Arc::clone(ledger),
            id: Arc::clone(id),
            act,
        })
    }

    fn holds(&self, id: &Arc<str>, act: Act) -> bool {
        let acts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        acts.contains(&(Arc::clone(id), act))
    }
}

/// A record on its way.
#[derive(Debug)]
pub(super) struct OnItsWay {
    recording: Recording,
    ledger: Arc<Ledger>,
    id: Arc<str>,
    act: Act,
}

impl OnItsWay {
    /// Notes whether it is written.
    pub(super) fn end(self, written: bool) {
        if written {
            self.ledger.recorded(&self.id, self.act);
        }
        let acts = self.recording.0.lock();
        let mut acts = acts.unwrap_or_else(PoisonError::into_inner);
        acts.remove(&(self.id, self.act));
    }
}

/// The act that a kind of record is of.
pub(super) fn act(kind: Kind) -> Option<Act> {
    if kind == Kind::KillSet {
        return Some(Act::Set);
    }
    (kind == Kind::KillCleared).then_some(Act::Cleared)
}

const fn kind(act: Act) -> Kind {
    match act {
        Act::Set => Kind::KillSet,
        Act::Cleared => Kind::KillCleared,
    }
}

impl Kills {
    /// Writes the records that are missing at a start, after a look into the audit log in `directory`: the gateway may have
    /// ended before it noted that one is there.
    pub async fn catch_up(&self, directory: &Path) {
        let unrecorded = self.ledger.unrecorded(Duration::ZERO);
        let Some(oldest) = unrecorded
            .iter()
            .map(|(kill, act)| moment(kill, *act))
            .min()
        else {
            return;
        };
        let since = oldest.checked_sub(MARGIN).unwrap_or(SystemTime::UNIX_EPOCH);
        let directory = directory.to_path_buf();
        let found = tokio::task::spawn_blocking(move || {
            let mut found = BTreeSet::new();
            let looked = keepgate_audit::look_back(&directory, since, LOOK_BACK, |json| {
                found.extend(recorded(json));
            });
            if let Err(error) = looked {
                tracing::error!(%error, "the audit log cannot be read, acts of kills may be recorded twice");
            }
            found
        });
        let found = found.await.unwrap_or_default();
        let (there, missing): (Vec<_>, Vec<_>) = unrecorded
            .into_iter()
            .partition(|(kill, act)| found.contains(&(kill.id.to_string(), *act)));
        for (kill, act) in there {
            self.ledger.recorded(&kill.id, act);
        }
        self.record_late(missing.into_iter(), BY_START).await;
    }

    /// Writes some of the records that the log has not taken when their acts were done.
    pub async fn retry(&self) {
        self.retry_older(AGE).await;
    }

    async fn retry_older(&self, age: Duration) {
        let unrecorded = self.ledger.unrecorded(age).into_iter();
        let missing = unrecorded.filter(|(kill, act)| !self.recording.holds(&kill.id, *act));
        self.record_late(missing, BY_RETRY).await;
    }

    async fn record_late(
        &self,
        missing: impl Iterator<Item = (Arc<Kill>, Act)>,
        why: &'static str,
    ) {
        let mut count = 0_usize;
        for (kill, act) in missing.take(AT_ONCE) {
            if !self.record_with(kind(act), &kill, Note::Late(why)).await {
                // The log is as it was: the others would fare no better.
                break;
            }
            count += 1;
        }
        if count > 0 {
            tracing::warn!(count, "records of kills were {why}");
        }
    }
}

/// When an act was done.
fn moment(kill: &Kill, act: Act) -> SystemTime {
    let ended = || {
        kill.cleared
            .as_ref()
            .map(|cleared| cleared.at)
            .or(kill.expires_at)
    };
    match act {
        Act::Set => kill.set_at,
        Act::Cleared => ended().unwrap_or(kill.set_at),
    }
}

/// The act that a record is of. Records are canonical, and a quote within a string is escaped: the texts are nowhere else.
fn recorded(json: &str) -> Option<(String, Act)> {
    let is = |act: Act| json.contains(&format!("\"kind\":\"{}\"", kind(act).as_str()));
    if !json.contains("\"kind\":\"kill.") {
        return None;
    }
    let act = [Act::Set, Act::Cleared].into_iter().find(|act| is(*act))?;
    let (_, after) = json.split_once("\"code\":\"k_")?;
    let (id, _) = after.split_once('"')?;
    Some((format!("k_{id}"), act))
}

#[cfg(test)]
mod tests {
    use keepgate_audit::{Log, Settings};
    use keepgate_store::kill::{Scope, Switch, Wish};

    use super::*;

    #[tokio::test]
    async fn acts_without_a_record_get_one_and_no_second() {
        let state = tempfile::tempdir().unwrap();
        let audit = state.path().join("audit");
        let log = Log::open(Settings::new(&audit, "keepgate.test/log", "t")).unwrap();
        let ledger = Ledger::open(state.path(), &Switch::new()).await;
        let kills = Kills::new(Arc::clone(&ledger), log, state.path());
        let wish = |target| Wish {
            scope: Scope::parse("server", Some(target)).unwrap(),
            tenant: None,
            reason: "test \"kind\":\"kill.set\" \"code\":\"k_0123456789abcdef\"".to_owned(),
            by: "alice".to_owned(),
            lasts: None,
        };
        let crm = ledger.set(wish("crm")).await.unwrap().kill;
        let files = ledger.set(wish("files")).await.unwrap().kill;
        ledger.clear(&files.id, "bob", "over").await.unwrap();
        let on_its_way = kills.recording.begin(&ledger, &crm.id, Act::Set).unwrap();
        assert!(kills.recording.begin(&ledger, &crm.id, Act::Set).is_none());
        let found = || {
            let mut found = Vec::new();
            keepgate_audit::look_back(&audit, SystemTime::UNIX_EPOCH, 1000, |json| {
                assert!(
                    recorded(json).is_none() || json.contains("\"code\":\"late\""),
                    "{json}"
                );
                found.extend(recorded(json));
            })
            .unwrap();
            found
        };
        let of_files = |act| (files.id.to_string(), act);
        kills.retry_older(Duration::from_secs(3600)).await;
        assert_eq!(found(), [], "their own ways may still do it");
        for _ in 0..2 {
            kills.retry_older(Duration::ZERO).await;
            assert_eq!(found(), [of_files(Act::Set), of_files(Act::Cleared)]);
        }
        // It fails on its way, and its record is there all the same: a start finds it.
        on_its_way.end(false);
        kills.catch_up(&audit).await;
        let all = [
            of_files(Act::Set),
            of_files(Act::Cleared),
            (crm.id.to_string(), Act::Set),
        ];
        assert_eq!(found(), all);
        let again = Ledger::open(state.path(), &Switch::new()).await;
        Kills::new(again, kills.log.clone(), state.path())
            .catch_up(&audit)
            .await;
        assert_eq!(found(), all, "the log knows what the database does not");
    }
}
