//! Repeated log lines, counted instead of written: one server that is down must not fill the log with a line a call.
//!
//! Lines are equal that come from one place in the code and name the same `server` and `code`. The first is written at once
//! ([`BURST`] of them where no code is named); those that follow within [`INTERVAL`] are counted, and the count is one line at its
//! end. Done here, in front of everything that is written, so that no line of any crate is left out.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::{EnvFilter, Layer};

/// Time in which equal lines are counted.
const INTERVAL: Duration = Duration::from_secs(10);
/// Lines written in each interval before counting begins, where they name no refusal's code.
const BURST: u32 = 10;
/// Different lines that are counted at once; those beyond share a count for each place in the code.
const MAX_ENTRIES: usize = 4_096;
/// Bytes kept of a field.
const MAX_FIELD: usize = 128;
/// Targets that are never counted: acts of operators and their reloads, lines with a rate of their own, and the counts.
const EXEMPT: [&str; 4] = [
    "keepgate_admin",
    "keepgate_cli::serve::reload",
    "keepgate::stdio::stderr",
    TARGET,
];
/// Target of the counts.
const TARGET: &str = "keepgate::log";

/// Counts equal lines. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Thinning(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<HashMap<Key, Entry>>,
    thinned: AtomicU64,
    /// Whether every line is written.
    is_off: AtomicBool,
}

/// Equal lines.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    place: Identifier,
    server: String,
    code: String,
}

/// Lines of one kind.
#[derive(Debug)]
struct Entry {
    level: Level,
    message: String,
    /// End of the interval.
    until: Instant,
    /// Lines written in it.
    written: u32,
    /// Lines counted in it.
    count: u64,
}

/// A count that is due.
#[derive(Debug, PartialEq, Eq)]
struct Count {
    level: Level,
    server: String,
    code: String,
    message: String,
    count: u64,
}

/// Fields of a line by which it is compared.
#[derive(Debug, Default)]
struct Fields {
    server: String,
    code: String,
    message: String,
}

impl Fields {
    fn slot(&mut self, field: &Field) -> Option<&mut String> {
        match field.name() {
            "server" => Some(&mut self.server),
            "code" => Some(&mut self.code),
            "message" => Some(&mut self.message),
            _ => None,
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if let Some(slot) = self.slot(field) {
            let end = value.floor_char_boundary(MAX_FIELD);
            slot.push_str(value.get(..end).unwrap_or_default());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if let Some(slot) = self.slot(field) {
            // An error is a field that is too long, and cut there.
            let _cut = write!(Bounded(slot), "{value:?}");
        }
    }
}

/// Takes the first bytes of a text.
struct Bounded<'a>(&'a mut String);

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let left = MAX_FIELD.saturating_sub(self.0.len());
        let end = text.floor_char_boundary(left);
        self.0.push_str(text.get(..end).unwrap_or_default());
        if end < text.len() {
            return Err(std::fmt::Error);
        }
        Ok(())
    }
}

impl Thinning {
    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes every line where the filter lets details through: whoever wants those looks for one call's lines.
    pub(super) fn follow(&self, filter: &EnvFilter) {
        let has_details = filter
            .max_level_hint()
            .is_none_or(|level| level > Level::INFO);
        self.0.is_off.store(has_details, Ordering::Relaxed);
    }

    /// Whether a line is written; if not, it is counted.
    fn admit(&self, place: Identifier, level: Level, fields: Fields, now: Instant) -> bool {
        let burst = if fields.code.is_empty() { BURST } else { 1 };
        let mut key = Key {
            place,
            server: fields.server,
            code: fields.code,
        };
        let mut entries = self.entries();
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&key) {
            key.server.clear();
            key.code.clear();
        }
        let entry = entries.entry(key).or_insert_with(|| Entry {
            level,
            message: fields.message,
            until: now + INTERVAL,
            written: 0,
            count: 0,
        });
        if entry.written < burst {
            entry.written += 1;
            return true;
        }
        entry.count += 1;
        self.0.thinned.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Counts of intervals that have ended by `now`. What nobody repeated is forgotten.
    fn due(&self, now: Instant) -> Vec<Count> {
        let mut due = Vec::new();
        self.entries().retain(|key, entry| {
            if entry.until > now {
                return true;
            }
            let count = std::mem::take(&mut entry.count);
            if count == 0 {
                return false;
            }
            entry.until = now + INTERVAL;
            due.push(Count {
                level: entry.level,
                server: key.server.clone(),
                code: key.code.clone(),
                message: entry.message.clone(),
                count,
            });
            true
        });
        due
    }

    /// Writes the counts that are due.
    pub(super) fn report(&self) {
        self.write(Instant::now());
    }

    /// Writes every count, for the end of the process.
    pub(super) fn flush(&self) {
        self.write(Instant::now() + INTERVAL);
    }

    fn write(&self, now: Instant) {
        for count in self.due(now) {
            let Count {
                level,
                server,
                code,
                message,
                count,
            } = count;
            let within_s = INTERVAL.as_secs();
            let field = |text: String| (!text.is_empty()).then_some(text);
            let (server, code) = (field(server), field(code));
            // The level of a line is fixed where it is written.
            if level == Level::ERROR {
                tracing::error!(target: TARGET, server, code, count, within_s, "{message}: more of these");
            } else if level == Level::WARN {
                tracing::warn!(target: TARGET, server, code, count, within_s, "{message}: more of these");
            } else {
                tracing::info!(target: TARGET, server, code, count, within_s, "{message}: more of these");
            }
        }
    }

    /// Lines counted instead of written, since the start.
    pub(super) fn thinned(&self) -> u64 {
        self.0.thinned.load(Ordering::Relaxed)
    }
}

impl<S: Subscriber> Layer<S> for Thinning {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let target = metadata.target();
        if self.0.is_off.load(Ordering::Relaxed)
            || *metadata.level() > Level::INFO
            || EXEMPT.iter().any(|exempt| target.starts_with(exempt))
        {
            return true;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.admit(
            metadata.callsite(),
            *metadata.level(),
            fields,
            Instant::now(),
        )
    }
}

#[cfg(test)]
mod tests;
