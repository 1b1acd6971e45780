//! The kill switch for operators: set, clear, list, drill. Every act is on record with the operator's name, and no act
//! waits for the record: a log that is full or hangs must not keep anybody from cutting something off.

mod drill;
mod late;
mod request;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use keepgate_audit::{Caller, Kind, Log, Reason, Record};
use keepgate_store::kill::{ActError, Done, Durable, Event, Kill, Ledger, Remains, Scope, text};
use serde::Serialize;

use crate::{
    operators::{Operator, Permission},
    refused::Refused,
    source::{Known, Session},
};
pub use drill::{DrillCut, DrillReport};
use late::{Note, Recording};
pub(crate) use request::parse;
pub use request::{KillClearing, KillDrill, KillListing, KillSetting};

/// How long an act waits for its record before it says that there is none yet.
const RECORD: Duration = Duration::from_secs(2);

/// What the operators' listener needs to work the switch. Clones share everything.
#[derive(Debug, Clone)]
pub struct Kills {
    ledger: Arc<Ledger>,
    log: Log,
    drills: PathBuf,
    /// Kills whose being partial is on record.
    partial: Arc<Mutex<BTreeMap<Arc<str>, Arc<Kill>>>>,
    /// Acts whose records are on their way.
    recording: Recording,
}

/// Longest time an act waits until it is known what it has not reached.
const SETTLED: Duration = Duration::from_millis(1200);

/// A kill as it is shown. Times are RFC 3339, UTC.
#[derive(Debug, Serialize)]
pub struct KillView {
    /// Its id.
    pub id: String,
    /// `active`, or how it ended.
    pub state: &'static str,
    /// Word of its scope.
    pub scope: &'static str,
    /// Name of what it cuts off; none for everything.
    pub target: Option<String>,
    /// The only tenant, if it is for one.
    pub tenant: Option<String>,
    /// The operator's reason.
    pub reason: String,
    /// The operator.
    pub by: String,
    /// Time it was set.
    pub set_at: String,
    /// Time it ends by itself.
    pub expires_at: Option<String>,
    /// Time it was cleared.
    pub cleared_at: Option<String>,
    /// The operator who cleared it.
    pub cleared_by: Option<String>,
    /// Their reason.
    pub cleared_reason: Option<String>,
    /// The rest it has not reached; none when it has reached everything.
    pub remains: Option<KillRemains>,
}

/// The rest a kill has not reached.
#[derive(Debug, Serialize)]
pub struct KillRemains {
    /// Running calls and streams.
    pub calls: usize,
    /// Processes.
    pub processes: usize,
    /// Credentials that are not revoked.
    pub leases: Vec<Arc<str>>,
    /// Whether another replica has not answered.
    pub unconfirmed: bool,
}

impl KillRemains {
    fn describe(&self) -> String {
        Remains {
            calls: self.calls,
            processes: self.processes,
            leases: self.leases.clone(),
            unconfirmed: self.unconfirmed,
        }
        .describe()
    }

    fn of(remains: Remains) -> Option<Self> {
        (!remains.is_complete()).then_some(Self {
            calls: remains.calls,
            processes: remains.processes,
            leases: remains.leases,
            unconfirmed: remains.unconfirmed,
        })
    }
}

impl KillView {
    /// The rest it has not reached, in words.
    pub fn remains(&self) -> Option<String> {
        self.remains.as_ref().map(KillRemains::describe)
    }

    fn of(kill: &Kill, remains: Remains) -> Self {
        let cleared = kill.cleared.as_ref();
        Self {
            id: kill.id.to_string(),
            state: kill.state(Instant::now()).as_str(),
            scope: kill.scope.word(),
            target: kill.scope.target().map(std::borrow::Cow::into_owned),
            tenant: kill.tenant.as_ref().map(ToString::to_string),
            reason: kill.reason.to_string(),
            by: kill.by.to_string(),
            set_at: text(kill.set_at),
            expires_at: kill.expires_at.map(text),
            cleared_at: cleared.map(|cleared| text(cleared.at)),
            cleared_by: cleared.map(|cleared| cleared.by.to_string()),
            cleared_reason: cleared.map(|cleared| cleared.reason.to_string()),
            remains: KillRemains::of(remains),
        }
    }
}

/// What an act did.
#[derive(Debug, Serialize)]
pub struct KillOutcome {
    /// The kill.
    pub kill: KillView,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Places it is kept in.
    pub stored: KillPlaces,
    /// Whether it is on record.
    pub recorded: bool,
    /// Whether something in its scope is not revoked, cut or ended yet.
    pub partial: bool,
    /// Running calls and streams it cut.
    pub cut: usize,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Places a kill is kept in, beyond memory.
#[derive(Debug, Serialize)]
pub struct KillPlaces {
    /// The file.
    pub file: bool,
    /// The database.
    pub database: bool,
}

/// All kills.
#[derive(Debug, Serialize)]
pub struct KillPage {
    /// The kills, newest first.
    pub kills: Vec<KillView>,
    /// The last of these, after which the next page begins; none when this is the last page.
    pub next: Option<String>,
    /// What is wrong with the places kills are kept in.
    pub warnings: Vec<String>,
}

impl Kills {
    /// The switch behind `ledger`; acts go on record in `log`, reports of drills into `drills` of the state directory.
    pub fn new(ledger: Arc<Ledger>, log: Log, state_directory: &Path) -> Self {
        Self {
            ledger,
            log,
            drills: state_directory.join("drills"),
            partial: Arc::default(),
            recording: Recording::default(),
        }
    }

    /// How many are in force, and whether file and database are in order, for readiness and meters.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// A page of the active kills, or of those that are over, too. `stray` are those that cut nothing.
    pub(crate) fn list(
        &self,
        listing: &KillListing,
        stray: &[Arc<Kill>],
    ) -> Result<KillPage, Refused> {
        let now = Instant::now();
        let mut kills = self.ledger.list();
        if let Some(after) = &listing.after {
            let at = kills.iter().position(|kill| *kill.id == **after);
            let at =
                at.ok_or_else(|| Refused::Request(format!("no kill has this id: `{after}`")))?;
            kills.drain(..=at);
        }
        let switch = self.ledger.switch();
        let mut shown = kills.iter().filter_map(|kill| {
            let remains = switch.remains(&kill.id);
            // One that is over and partial is not done with.
            let listed = listing.all || kill.is_in_force(now) || !remains.is_complete();
            listed.then(|| KillView::of(kill, remains))
        });
        let kills: Vec<KillView> = shown.by_ref().take(listing.limit).collect();
        let last = kills.last().map(|kill| kill.id.clone());
        let list = KillPage {
            next: last.filter(|_| shown.next().is_some()),
            kills,
            warnings: self.ill().into_iter().chain(strayed(stray)).collect(),
        };
        Ok(list)
    }

    /// Sets a kill.
    pub(crate) async fn set(
        &self,
        operator: &Operator,
        setting: &KillSetting,
        knows: impl Fn(&Scope) -> Known,
    ) -> Result<KillOutcome, Refused> {
        let wish = setting.wish(&operator.name).map_err(Refused::Request)?;
        let done = self
            .ledger
            .set_as(wish, setting.id.as_deref())
            .await
            .map_err(|error| refused(&error))?;
        let mut warnings = durability(&done.durable, "a restart forgets this kill");
        // Now that it has effect. What it cut is known, whatever is listed.
        if done.cut == 0 {
            warnings.extend(knows(&done.kill.scope).warning(&done.kill.scope));
        }
        self.acted(Kind::KillSet, done, warnings).await
    }

    /// Clears a kill.
    pub(crate) async fn clear(
        &self,
        operator: &Operator,
        id: &str,
        clearing: &KillClearing,
    ) -> Result<KillOutcome, Refused> {
        let own = self
            .ledger
            .list()
            .iter()
            .any(|kill| *kill.id == *id && kill.by == operator.name);
        if own && !operator.may(Permission::ClearOwn) {
            return Err(Refused::Own);
        }
        let done = self
            .ledger
            .clear(id, &operator.name, &clearing.reason)
            .await
            .map_err(|error| refused(&error))?;
        let mut warnings = durability(&done.durable, "a restart brings this kill back");
        warnings.extend(self.still(&done.kill));
        self.acted(Kind::KillCleared, done, warnings).await
    }

    /// Warns of each other active kill that still covers the same target.
    fn still(&self, cleared: &Kill) -> Vec<String> {
        let others = self.ledger.switch().in_force().into_iter();
        others
            .filter(|other| other.is_wider(cleared))
            .map(|other| {
                format!(
                    "{} is still cut off by {} ({})",
                    cleared.scope, other.id, other.scope
                )
            })
            .collect()
    }

    /// The kill and its reach. Changes nothing and writes nothing.
    pub(crate) fn reach(
        &self,
        operator: &Operator,
        drilling: &KillDrill,
        knows: impl Fn(&Scope) -> Known,
        sessions: Vec<Session>,
    ) -> Result<(Arc<Kill>, DrillReport), Refused> {
        let wish = drilling.wish(&operator.name).map_err(Refused::Request)?;
        let warnings = Vec::from_iter(knows(&wish.scope).warning(&wish.scope));
        let (kill, blast) = self.ledger.blast(wish).map_err(|error| refused(&error))?;
        let mut report = DrillReport::new(&kill, blast, sessions, self.ledger.switch());
        report.warnings = warnings;
        Ok((Arc::new(kill), report))
    }

    /// Reports what a kill would cut and writes it down. Changes nothing.
    pub(crate) async fn drill(
        &self,
        operator: &Operator,
        drilling: &KillDrill,
        knows: impl Fn(&Scope) -> Known,
        sessions: Vec<Session>,
    ) -> Result<DrillReport, Refused> {
        let (kill, mut report) = self.reach(operator, drilling, knows, sessions)?;
        match drill::keep(&self.drills, &report).await {
            Ok(path) => report.path = Some(path),
            Err(why) => {
                let warning = format!("the report could not be written: {why}");
                report.warnings.push(warning);
            }
        }
        if !self.record(Kind::KillDrill, &kill).await {
            report.warnings.push(UNRECORDED.to_owned());
        }
        Ok(report)
    }

    /// Puts on record what happened without an operator asking this listener for it.
    pub async fn happened(&self, event: &Event) {
        let (kind, kill) = match event {
            Event::Set(done) => {
                tracing::warn!(id = %done.kill.id, scope = %done.kill.scope, by = %done.kill.by, cut = done.cut, "kill set");
                (Kind::KillSet, &done.kill)
            }
            Event::Cleared(kill) | Event::Expired(kill) => {
                tracing::warn!(id = %kill.id, scope = %kill.scope, "kill is over");
                (Kind::KillCleared, kill)
            }
        };
        self.record(kind, kill).await;
    }

    /// Puts on record which kills are partial, and which no longer.
    pub async fn follow(&self) {
        let now = self.ledger.switch().partial();
        let mut news = Vec::new();
        {
            let mut known = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|id, kill| {
                let still = now.contains_key(id);
                if !still {
                    news.push((Kind::KillCompleted, Arc::clone(kill), DONE.to_owned()));
                }
                still
            });
            if now.keys().any(|id| !known.contains_key(id)) {
                for kill in self.ledger.list() {
                    let Some(remains) = now.get(&kill.id) else {
                        continue;
                    };
                    if known
                        .insert(Arc::clone(&kill.id), Arc::clone(&kill))
                        .is_none()
                    {
                        news.push((Kind::KillPartial, kill, remains.describe()));
                    }
                }
            }
        }
        for (kind, kill, why) in news {
            if kind == Kind::KillPartial {
                tracing::error!(id = %kill.id, scope = %kill.scope, remains = why, "kill is partial");
            } else {
                tracing::warn!(id = %kill.id, scope = %kill.scope, "kill is complete");
            }
            self.record_with(kind, &kill, Note::Partial(why)).await;
        }
    }

    async fn acted(
        &self,
        kind: Kind,
        done: Done,
        mut warnings: Vec<String>,
    ) -> Result<KillOutcome, Refused> {
        let Done {
            kill,
            cut,
            durable,
            known,
        } = done;
        tracing::warn!(id = %kill.id, scope = %kill.scope, by = %kill.by, kind = kind.as_str(), cut, "kill switch");
        // What the file brought first is on record by that way.
        let recorded = known || self.record(kind, &kill).await;
        let switch = self.ledger.switch();
        let remains = if kind == Kind::KillSet {
            switch.settled(&kill.id, SETTLED).await
        } else {
            switch.remains(&kill.id)
        };
        let partial = !remains.is_complete();
        if partial {
            warnings.push(format!(
                "PARTIAL: {}; it is tried again, `keepgate kill list` shows until when",
                remains.describe()
            ));
        }
        if !recorded {
            warnings.push(UNRECORDED.to_owned());
        }
        let acted = KillOutcome {
            kill: KillView::of(&kill, remains),
            durable: durable.is_durable(),
            stored: KillPlaces {
                file: durable.file,
                database: durable.database,
            },
            recorded,
            partial,
            cut,
            warnings,
        };
        Ok(acted)
    }

    /// Writes an act's record aside, so that a disk that hangs holds up nobody but this answer, and that not for long.
    async fn record(&self, kind: Kind, kill: &Arc<Kill>) -> bool {
        self.record_with(kind, kill, Note::None).await
    }

    async fn record_with(&self, kind: Kind, kill: &Arc<Kill>, note: Note) -> bool {
        let (log, kill) = (self.log.clone(), Arc::clone(kill));
        let act = late::act(kind).and_then(|act| self.recording.begin(&self.ledger, &kill.id, act));
        let written = tokio::task::spawn_blocking(move || {
            let written = written(&log, kind, &kill, &note);
            if let Some(act) = act {
                act.end(written);
            }
            written
        });
        let recorded = matches!(tokio::time::timeout(RECORD, written).await, Ok(Ok(true)));
        if !recorded {
            tracing::error!(kind = kind.as_str(), "the act is not on record (yet)");
        }
        recorded
    }

    /// What is wrong with the places kills are kept in.
    fn ill(&self) -> Vec<String> {
        let health = self.ledger.health();
        let told = [
            ("kill.log", health.file),
            ("the database", health.database),
            ("what was read at the start", health.damage),
        ];
        told.into_iter()
            .filter_map(|(what, why)| Some(format!("{what}: {}", why?)))
            .collect()
    }
}

/// Most kills without a target that a page of the list warns of.
const MAX_STRAY: usize = 100;
/// Reason of a kill that is complete.
const DONE: &str = "everything is revoked, cut and ended";
const UNRECORDED: &str =
    "the act is in force, but the audit log did not take its record; /readyz says how the log is";

/// Whether the record of an act was kept. Blocks.
fn written(log: &Log, kind: Kind, kill: &Kill, note: &Note) -> bool {
    let (why, late) = match note {
        Note::None => (None, None),
        Note::Partial(why) => (Some(why.as_str()), None),
        Note::Late(late) => (None, Some(*late)),
    };
    let over = kill.cleared.as_ref().filter(|_| kind == Kind::KillCleared);
    let expired = kind == Kind::KillCleared && over.is_none();
    let (by, reason, at) = match (why, over) {
        (Some(why), _) => ("keepgate", why, SystemTime::now()),
        (None, Some(cleared)) => (&*cleared.by, &*cleared.reason, cleared.at),
        (None, None) if expired => {
            let at = kill.expires_at.unwrap_or_else(SystemTime::now);
            ("keepgate", "its time is over", at)
        }
        (None, None) => (&*kill.by, &*kill.reason, kill.set_at),
    };
    let what = kill.scope.to_string();
    let expires = kill.expires_at.map(text);
    let mut reasons = vec![
        Reason {
            code: &kill.id,
            message: &what,
        },
        Reason {
            code: "reason",
            message: reason,
        },
    ];
    if let Some(expires) = &expires {
        reasons.push(Reason {
            code: "expires",
            message: expires,
        });
    }
    if let Some(late) = late {
        reasons.push(Reason {
            code: "late",
            message: late,
        });
    }
    let (server, tool_name) = place(&kill.scope);
    let record = Record {
        caller: Some(Caller {
            kind: "operator",
            user_id: by,
            key_id: None,
            issuer: None,
            client_id: None,
        }),
        tenant: kill.tenant.as_ref().map(|tenant| tenant.as_str()),
        server,
        tool_name,
        reasons: &reasons,
        ..Record::new(kind, at)
    };
    log.append(&record).wait().is_ok()
}

/// Server and tool of a scope that has them.
fn place(scope: &Scope) -> (Option<&str>, Option<&str>) {
    match scope {
        Scope::Server(server) => (Some(server.as_str()), None),
        Scope::Tool { server, tool } => (Some(server.as_str()), Some(tool)),
        Scope::Everything
        | Scope::Tenant(_)
        | Scope::Caller(_)
        | Scope::Session(_)
        | Scope::Credential(_) => (None, None),
    }
}

/// What is said when a place did not take an act.
fn durability(durable: &Durable, otherwise: &str) -> Vec<String> {
    match (durable.file, durable.database) {
        (true, true) => Vec::new(),
        (false, false) => vec![format!(
            "NOT DURABLE: in force, but neither kill.log nor the database could be written; {otherwise}"
        )],
        (true, false) => {
            vec![
                "the database could not be written; kill.log holds it, and it is tried again"
                    .to_owned(),
            ]
        }
        (false, true) => {
            vec![
                "kill.log could not be written; the database holds it, and it is tried again"
                    .to_owned(),
            ]
        }
    }
}

/// Warns of kills whose target the configuration does not have.
fn strayed(kills: &[Arc<Kill>]) -> impl Iterator<Item = String> {
    kills.iter().take(MAX_STRAY).map(|kill| {
        format!(
            "{} cuts nothing: the configuration does not have its target, {}",
            kill.id, kill.scope
        )
    })
}

fn refused(error: &ActError) -> Refused {
    let said = error.to_string();
    match error {
        ActError::Unknown(id) => Refused::Unknown(id.clone()),
        ActError::Over(..) => Refused::Over(said),
        ActError::Wish(wish) => Refused::Request(wish.to_string()),
        ActError::TooMany | ActError::Reason | ActError::Id(_) => Refused::Request(said),
    }
}
