//! Watches the wall clock: jumps are logged, counted and recorded, and the highest time seen is kept in the state directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keepgate_admin::Part;
use keepgate_audit::{Kind, Log, Reason, Record};

use keepgate_gateway::Shared;
use keepgate_gateway::wall_clock::{Jump, Look, MAX_DRIFT, WallClock};
use keepgate_telemetry::metrics::{About, Registry, Unit};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::open::AUDIT_DIRECTORY;
use crate::failure::chain;

/// Name of the file in the state directory.
pub(super) const FILE: &str = "clock";
/// Interval of looks at the clocks.
const EVERY: Duration = Duration::from_secs(1);
/// Looks between two writes of the file. A restart can lose so many seconds.
const WRITES: u32 = 30;

/// Opens the clock: it goes on from the highest time its last process kept. To be called before the audit log is opened.
pub(super) fn open(state: &Path) -> WallClock {
    let now = SystemTime::now();
    let kept = read(state).unwrap_or_else(|why| {
        tracing::error!(
            file = %state.join(FILE).display(),
            why,
            "the highest time seen cannot be read: that of the last record is used"
        );
        None
    });
    let last = kept.or_else(|| last_record(state));
    let behind = last.and_then(|last| last.duration_since(now).ok());
    if let Some(behind) = behind.filter(|behind| *behind > MAX_DRIFT) {
        tracing::error!(
            behind_s = behind.as_secs(),
            file = %state.join(FILE).display(),
            "the clock is behind the last time of this state directory: what had expired by then stays expired. Set the clock; if that time was wrong, end the gateway and remove the file"
        );
    }
    WallClock::since(kept.map_or(now, |kept| kept.max(now)))
}

/// The highest time a process has kept; `None` in a new directory. The error is the reason why it cannot be read.
fn read(state: &Path) -> Result<Option<SystemTime>, String> {
    let bytes = keepgate_files::read(&state.join(FILE)).map_err(|error| chain(&error))?;
    let Some(bytes) = bytes else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    let time = OffsetDateTime::parse(text.trim(), &Rfc3339);
    let time = time.map_err(|_error| "not a time as RFC 3339 writes it".to_owned())?;
    Ok(Some(time.into()))
}

/// When the audit log was last written, for a state directory without the file.
fn last_record(state: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(state.join(AUDIT_DIRECTORY)).ok()?;
    let times = entries
        .flatten()
        .filter_map(|entry| entry.metadata().ok()?.modified().ok());
    times.max()
}

/// Keeps the highest time seen. Blocks for a write to the disk.
pub(super) fn keep(state: &Path, clock: &WallClock) {
    let text = OffsetDateTime::from(clock.mark()).format(&Rfc3339);
    let Ok(text) = text else { return };
    // The next one is written in half a minute; a disk that fails is reported by the audit log.
    if let Err(error) = keepgate_files::replace(&state.join(FILE), format!("{text}\n").as_bytes()) {
        tracing::debug!(%error, "the highest time seen cannot be kept");
    }
}

/// Watches the clocks until dropped. Its writes are done elsewhere: a disk that hangs stops no look.
pub(super) async fn watch(shared: Arc<Shared>, state: PathBuf) {
    let mut before = Look::now();
    let mut writing: Option<tokio::task::JoinHandle<()>> = None;
    let mut looks = 0_u32;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Look::now();
        let jump = shared.clock.advance(before, now);
        before = now;
        if let Some(jump) = jump {
            report(jump, &shared.log);
        }
        looks += 1;
        let is_due = jump.is_some() || looks >= WRITES;
        if is_due
            && writing
                .as_ref()
                .is_none_or(tokio::task::JoinHandle::is_finished)
        {
            looks = 0;
            let (shared, state) = (Arc::clone(&shared), state.clone());
            writing = Some(tokio::task::spawn_blocking(move || {
                keep(&state, &shared.clock)
            }));
        }
    }
}

/// Logs a jump, and puts it on record.
fn report(jump: Jump, log: &Log) {
    let sign = if jump.is_back { '-' } else { '+' };
    let by = format!("{sign}{:.0}", jump.by.as_secs_f64());
    tracing::error!(
        by_s = by,
        "the clock has jumped: what had expired stays expired, however it was set"
    );
    let reasons = [Reason {
        code: "seconds",
        message: &by,
    }];
    let record = Record {
        reasons: &reasons,
        ..Record::new(Kind::ClockJumped, SystemTime::now())
    };
    // Queued: nobody waits for it, and a log that is full is reported by itself.
    drop(log.append(&record));
}

/// The part for readiness, while the clock is behind. What expires is refused for longer then, so that nothing is unready.
pub(super) fn part(clock: &WallClock) -> Option<Part> {
    let state = "BEHIND the highest time seen, what had expired stays expired";
    (clock.behind(SystemTime::now()) > MAX_DRIFT).then(|| Part::ready("clock", state))
}

/// Lets metrics show the clock.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts beyond 2^53 may lose their last digit"
)]
pub(super) fn observe(registry: &Registry, clock: &Arc<WallClock>) {
    let jumps = Arc::clone(clock);
    let about = About::counter(
        "keepgate.clock.jumps",
        "Jumps of the wall clock by more than five seconds",
        &["keepgate.direction"],
    );
    registry.observe(about, move |out| {
        let (forward, back) = jumps.jumps();
        out.add(["forward"], forward as f64);
        out.add(["back"], back as f64);
    });
    let clock = Arc::clone(clock);
    let about = About::gauge(
        "keepgate.clock.behind",
        "Time by which the wall clock is behind the highest time seen",
        &[],
    )
    .unit(Unit::Seconds);
    registry.observe(about, move |out| {
        out.add([], clock.behind(SystemTime::now()).as_secs_f64());
    });
}
