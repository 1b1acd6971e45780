//! Traces: whether a call is recorded, and what is kept of one that is.
//!
//! Sampling comes first and costs a comparison; a call that is not recorded allocates nothing here. Spans are plain data
//! that a queue hands to the exporter's thread; a full queue drops them and counts what it dropped.

use std::{
    borrow::Cow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    time::{Duration, SystemTime},
};

use keepgate_call::trace::{Remote, Spans, Trace};
use opentelemetry::{
    KeyValue,
    trace::{SpanContext, SpanId, SpanKind, TraceFlags, TraceId},
};
use tokio::sync::Notify;

/// Which calls are recorded, as `OTEL_TRACES_SAMPLER` names it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// The share of calls without a parent that are recorded, in units of 2^-63: as large as 2^63 records all.
    threshold: u64,
    /// Whether a parent decides for its children.
    by_parent: bool,
}

impl Sampler {
    /// Records `ratio` (0 to 1) of the calls; with `by_parent`, what is part of a trusted trace is recorded exactly when
    /// its parent is.
    pub fn new(ratio: f64, by_parent: bool) -> Self {
        const WHOLE: f64 = 9_223_372_036_854_775_808.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the share is clamped to 0..=2^63 before"
        )]
        let threshold = (ratio.clamp(0.0, 1.0) * WHOLE) as u64;
        Self {
            threshold,
            by_parent,
        }
    }

    /// The decision of `TraceIdRatioBased` for these random bits: the low 63 of a trace id.
    fn takes(self, random: [u8; 16]) -> bool {
        let low = random
            .iter()
            .skip(8)
            .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        (low & (u64::MAX >> 1)) < self.threshold
    }
}

/// How traces are begun and carried on.
#[derive(Debug, Clone, PartialEq)]
pub struct Tracing {
    /// Which calls are recorded.
    pub sampler: Sampler,
    /// Whether a client's trace context is carried on. Otherwise each call begins a trace of its own that names the
    /// client's as a link, and no client can have itself recorded.
    pub trust_clients: bool,
    /// Whether servers are told the context.
    pub propagate: bool,
    /// The members of a client's baggage that servers may see.
    pub baggage: Vec<String>,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            sampler: Sampler::new(1.0, true),
            trust_clients: false,
            propagate: true,
            baggage: Vec::new(),
        }
    }
}

/// A span that has ended.
#[derive(Debug, Clone)]
pub struct Span {
    /// Which side of a call it shows.
    pub kind: SpanKind,
    /// Its own name on the wire.
    pub context: SpanContext,
    /// The span it is part of.
    pub parent: Option<SpanId>,
    /// Whether that is another process's.
    pub is_remote: bool,
    /// Contexts it has to do with.
    pub links: Vec<SpanContext>,
    /// What it is called.
    pub name: String,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// What is told of it.
    pub attributes: Vec<KeyValue>,
    /// Why it failed, if it did.
    pub error: Option<Cow<'static, str>>,
}

/// What became of spans, since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Waiting to be sent.
    pub queued: AtomicU64,
    /// Sent, and taken by the collector.
    pub sent: AtomicU64,
    /// Dropped because the queue was full.
    pub dropped_full: AtomicU64,
    /// Dropped because the collector did not take them.
    pub dropped_failed: AtomicU64,
    /// Attempts to send spans that failed.
    pub failures: AtomicU64,
    /// Attempts to send metrics that failed.
    pub metric_failures: AtomicU64,
}

/// The way to the exporter.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) spans: SyncSender<Box<Span>>,
    pub(crate) tally: Arc<Tally>,
    /// Told when a batch is full; otherwise the exporter looks by itself, and no call pays for waking it.
    pub(crate) full: Arc<Notify>,
    pub(crate) batch: u64,
}

impl Queue {
    fn put(&self, span: Span) {
        match self.spans.try_send(Box::new(span)) {
            Ok(()) => {
                let queued = self.tally.queued.fetch_add(1, Ordering::Relaxed) + 1;
                if queued.is_multiple_of(self.batch) {
                    self.full.notify_one();
                }
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.tally.dropped_full.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The trace context a client sent, read when it is needed.
pub trait Carrier {
    /// From `params._meta` of the message: what the client itself names as the parent.
    fn message(&self) -> Option<Remote<'_>>;
    /// From the header of the request: what somebody on the way may have put there.
    fn header(&self) -> Option<Remote<'_>>;
}

/// Begins traces and takes spans. Shared by all stacks; does nothing until it is switched on.
#[derive(Debug, Default)]
pub struct Tracer {
    on: OnceLock<(Tracing, Queue)>,
    baggage: OnceLock<Vec<String>>,
}

impl Tracer {
    pub(crate) fn switch_on(&self, tracing: Tracing, queue: Queue) {
        let _once = self.baggage.set(tracing.baggage.clone());
        let _once = self.on.set((tracing, queue));
    }

    /// Whether anything is recorded at all.
    pub fn is_on(&self) -> bool {
        self.on.get().is_some()
    }

    /// Whether servers are told the context.
    pub fn propagates(&self) -> bool {
        self.on.get().is_some_and(|(tracing, _)| tracing.propagate)
    }

    /// The members of a client's baggage that servers may see.
    pub fn baggage(&self) -> &[String] {
        self.baggage.get().map_or(&[], Vec::as_slice)
    }

    /// Decides whether a call is recorded. `random` are bits that nobody outside knows; they become the trace id of a call
    /// that begins a trace.
    pub fn begin(&self, random: [u8; 16], carrier: &impl Carrier) -> Trace {
        let Some((tracing, _)) = self.on.get() else {
            return Trace::default();
        };
        if tracing.trust_clients {
            return within(tracing, random, carrier);
        }
        if !tracing.sampler.takes(random) {
            return Trace::default();
        }
        let links = carrier.message().into_iter().chain(carrier.header());
        let links = links.map(|link| link.whole()).collect();
        recorded(random, None, true, links)
    }

    /// The trace of a call the gateway makes for the sake of another.
    pub fn inner(&self, of: &Trace, random: [u8; 16]) -> Trace {
        match &of.spans {
            Some(spans) => recorded(random, Some(&spans.server), false, Vec::new()),
            None => Trace::default(),
        }
    }

    /// Takes a span that has ended.
    pub fn end(&self, span: Span) {
        if let Some((_, queue)) = self.on.get() {
            queue.put(span);
        }
    }
}

/// A call of a trusted client: part of the client's trace.
fn within(tracing: &Tracing, random: [u8; 16], carrier: &impl Carrier) -> Trace {
    let (message, header) = (carrier.message(), carrier.header());
    let in_header_only = message.is_none();
    // One the client's message names is the parent, and what the header says happened on the way.
    let (parent, link) = match (message, header) {
        (Some(message), header) => (Some(message), header),
        (None, header) => (header, None),
    };
    let taken = match &parent {
        Some(parent) if tracing.sampler.by_parent => parent.bare().is_sampled(),
        Some(parent) => tracing.sampler.takes(parent.bare().trace_id().to_bytes()),
        None => tracing.sampler.takes(random),
    };
    if !taken {
        let passing = parent.filter(|_| in_header_only && tracing.propagate);
        return passing.map_or_else(Trace::default, |parent| Trace::passing(parent.unsampled()));
    }
    let parent = parent.map(|parent| parent.whole());
    let links = link
        .map(|link| link.whole())
        .filter(|link| parent.as_ref() != Some(link))
        .into_iter()
        .collect();
    recorded(random, parent.as_ref(), true, links)
}

fn recorded(
    random: [u8; 16],
    parent: Option<&SpanContext>,
    is_remote: bool,
    links: Vec<SpanContext>,
) -> Trace {
    // A span's id only has to differ from others of its trace; the trace id's own bits do for the first, and turned over
    // for the second. Neither may be zero.
    let bits = u128::from_be_bytes(random);
    let half = u64::try_from(bits >> 64).unwrap_or_default();
    let trace = parent.map_or_else(|| TraceId::from(bits.max(1)), SpanContext::trace_id);
    let state = parent.map(SpanContext::trace_state);
    let context = |id: u64| {
        let state = state.cloned().unwrap_or_default();
        let id = SpanId::from(id.max(1));
        SpanContext::new(trace, id, TraceFlags::SAMPLED, false, state)
    };
    Trace::recorded(Spans {
        server: context(half),
        client: context(!half),
        parent: parent.map(SpanContext::span_id),
        is_remote,
        links,
        judgement: OnceLock::new(),
        session: OnceLock::new(),
    })
}

#[cfg(test)]
mod tests;
