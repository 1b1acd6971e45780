//! One count of equal refusals.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use keepgate_audit::{Kind, Log, Record, Repeat, Scope};
use keepgate_call::{Caller, DecisionId, ServerName};

use super::{Refused, WITHIN, Written};
use crate::layers::audit::describe::who;

/// Longest name that is kept of a client's own, in bytes; the first record has it whole.
const NAME_MOST: usize = 128;

/// Refusals that share the record of the first of them.
pub(super) struct Group {
    id: DecisionId,
    scope: Scope,
    until: Instant,
    count: u32,
    /// When the first and the last were that are counted.
    ends: Option<(SystemTime, SystemTime)>,
    caller: Option<Arc<Caller>>,
    server: Option<ServerName>,
    method: Option<Box<str>>,
    tool: Option<Box<str>>,
    prompt: Option<Box<str>>,
    resource: Option<Box<str>>,
    code: &'static str,
    source: Option<IpAddr>,
    /// Causes of rejections that have a record.
    causes: Vec<u64>,
}

impl Group {
    /// A count that the refusal `id` opens.
    pub(super) fn new(
        refused: Refused<'_>,
        cause: Option<u64>,
        scope: Scope,
        id: DecisionId,
        until: Instant,
    ) -> Self {
        let kept = |name: &str| {
            Box::from(
                name.get(..name.floor_char_boundary(NAME_MOST))
                    .unwrap_or_default(),
            )
        };
        Self {
            id,
            scope,
            until,
            count: 0,
            ends: None,
            caller: refused.caller.cloned(),
            server: refused.server.cloned(),
            method: refused.method.map(kept),
            tool: refused.names.tool.map(kept),
            prompt: refused.names.prompt.map(kept),
            resource: refused.names.resource.map(kept),
            code: refused.code,
            source: refused.source,
            causes: cause.into_iter().collect(),
        }
    }

    /// Whether a record has that cause.
    pub(super) fn has_met(&self, cause: u64) -> bool {
        self.causes.contains(&cause)
    }

    /// Adds a cause. Returns the id its record has, and what that has to do with the others.
    pub(super) fn meet(&mut self, cause: u64) -> (DecisionId, Repeat) {
        self.causes.push(cause);
        (self.id, self.opened())
    }

    fn opened(&self) -> Repeat {
        Repeat::Opened {
            within: WITHIN,
            scope: self.scope,
        }
    }

    /// The way the refusal gets on record that opened it.
    pub(super) fn first(&self) -> Written {
        Written::First(self.opened())
    }

    /// Whether more may be counted.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        now < self.until && self.count < u32::MAX
    }

    /// Counts one more.
    pub(super) fn count(&mut self, at: SystemTime) -> Written {
        self.count = self.count.saturating_add(1);
        let first = self.ends.map_or(at, |(first, _)| first);
        self.ends = Some((first, at));
        Written::Counted(self.id.repeat(self.count))
    }

    /// Writes the count, if there is one: the first has its record.
    pub(super) fn write(&self, log: &Log, at: SystemTime) {
        // Each cause after the first was counted and has a record of its own.
        let recorded = u32::try_from(self.causes.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let count = self.count.saturating_sub(recorded);
        let Some((first, last)) = self.ends.filter(|_| count > 0) else {
            return;
        };
        let mut record = Record::new(Kind::RecordRepeated, at);
        record.decision_id = Some(self.id.as_str());
        if let Some(caller) = &self.caller {
            record.tenant = Some(caller.tenant.as_str());
            record.caller = Some(who(caller));
        }
        record.server = self.server.as_ref().map(ServerName::as_str);
        record.method = self.method.as_deref();
        record.source = self.source;
        record.refusal = Some(self.code);
        record.tool_name = self.tool.as_deref();
        record.prompt = self.prompt.as_deref();
        record.resource = self.resource.as_deref();
        record.repeat = Some(Repeat::Counted {
            count: u64::from(count),
            first,
            last,
            scope: self.scope,
        });
        // Nobody waits for it; what cannot be kept is counted as lost.
        log.post(&record);
    }
}
