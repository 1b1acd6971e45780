//! Who decides whether a call is recorded, and whose trace it is part of.

use keepgate_call::trace::{self, Remote};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use super::{Carrier, Queue, Sampler, Tally, Tracer, Tracing};

struct Sent {
    message: Option<SpanContext>,
    header: Option<SpanContext>,
}

impl Carrier for Sent {
    fn message(&self) -> Option<Remote<'_>> {
        remote(self.message.as_ref()?)
    }

    fn header(&self) -> Option<Remote<'_>> {
        remote(self.header.as_ref()?)
    }
}

fn remote(context: &SpanContext) -> Option<Remote<'static>> {
    let state = context.trace_state().header();
    Remote::parse(trace::parent(context).as_bytes(), Some(state.into()))
}

const NOTHING: Sent = Sent {
    message: None,
    header: None,
};

fn trace_id(bytes: [u8; 16]) -> TraceId {
    TraceId::from_bytes(bytes)
}

fn span_id(letter: u8) -> SpanId {
    SpanId::from_bytes([letter; 8])
}

fn context(letter: u8, sampled: bool) -> SpanContext {
    SpanContext::new(
        trace_id([letter; 16]),
        span_id(letter),
        TraceFlags::default().with_sampled(sampled),
        true,
        TraceState::from_key_value([("vendor", "1")]).unwrap(),
    )
}

fn tracer(ratio: f64, by_parent: bool, trust_clients: bool) -> Tracer {
    let tracer = Tracer::default();
    let (spans, _) = std::sync::mpsc::sync_channel(1);
    tracer.switch_on(
        Tracing {
            sampler: Sampler::new(ratio, by_parent),
            trust_clients,
            ..Tracing::default()
        },
        Queue {
            spans,
            tally: std::sync::Arc::new(Tally::default()),
            full: std::sync::Arc::default(),
            batch: 512,
        },
    );
    tracer
}

fn random(number: u64) -> [u8; 16] {
    let digest = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bits = [7; 16];
    bits[8..].copy_from_slice(&digest.to_be_bytes());
    bits
}

#[test]
fn a_tracer_that_is_off_records_nothing() {
    let sent = Sent {
        message: Some(context(1, true)),
        header: Some(context(2, true)),
    };
    let trace = Tracer::default().begin(random(1), &sent);
    assert!(trace.spans.is_none() && trace.passing.is_none());
}

#[test]
fn a_client_cannot_have_itself_recorded() {
    let tracer = tracer(0.0, true, false);
    let sent = Sent {
        message: Some(context(1, true)),
        header: Some(context(2, true)),
    };
    for number in 0..1000 {
        assert!(tracer.begin(random(number), &sent).spans.is_none());
    }
}

#[test]
fn a_client_that_is_not_trusted_is_linked_and_not_followed() {
    let sent = Sent {
        message: Some(context(1, false)),
        header: Some(context(2, true)),
    };
    let trace = tracer(1.0, true, false).begin(random(5), &sent);
    let spans = trace.spans.unwrap();
    assert_eq!(spans.server.trace_id(), trace_id(random(5)));
    assert_eq!(spans.parent, None);
    assert_eq!(*spans.server.trace_state(), TraceState::NONE);
    assert_eq!(spans.links, [context(1, false), context(2, true)]);
}

#[test]
fn a_trusted_clients_message_is_the_parent_and_its_header_a_link() {
    let sent = Sent {
        message: Some(context(1, true)),
        header: Some(context(2, true)),
    };
    let spans = tracer(0.0, true, true)
        .begin(random(5), &sent)
        .spans
        .unwrap();
    assert_eq!(spans.server.trace_id(), trace_id([1; 16]));
    assert_eq!(spans.parent, Some(span_id(1)));
    assert!(spans.is_remote);
    assert_eq!(spans.server.trace_state().header(), "vendor=1");
    assert_eq!(spans.links, [context(2, true)]);
    assert_eq!(spans.client.trace_id(), trace_id([1; 16]));
    assert_ne!(spans.client.span_id(), spans.server.span_id());
    let only_header = Sent {
        message: None,
        header: Some(context(2, true)),
    };
    let spans = tracer(0.0, true, true)
        .begin(random(5), &only_header)
        .spans
        .unwrap();
    assert_eq!(spans.server.trace_id(), trace_id([2; 16]));
    assert_eq!(spans.parent, Some(span_id(2)));
    assert!(spans.links.is_empty());
}

#[test]
fn a_trusted_parent_that_is_not_recorded_travels_on_unrecorded() {
    let sent = Sent {
        message: None,
        header: Some(context(2, false)),
    };
    let trace = tracer(1.0, true, true).begin(random(5), &sent);
    assert!(trace.spans.is_none());
    assert_eq!(*trace.passing.unwrap(), context(2, false));
    // Nor one that is, when the sampler does not ask it.
    let sampled = Sent {
        message: None,
        header: Some(context(2, true)),
    };
    let trace = tracer(0.0, false, true).begin(random(5), &sampled);
    assert_eq!(*trace.passing.unwrap(), context(2, false));
    // In the message it travels by itself.
    let sent = Sent {
        message: Some(context(1, false)),
        header: None,
    };
    let trace = tracer(1.0, true, true).begin(random(5), &sent);
    assert!(trace.spans.is_none() && trace.passing.is_none());
}

#[test]
fn a_share_of_the_calls_is_recorded() {
    let tracer = tracer(0.1, false, false);
    let taken = (0..10_000)
        .filter(|number| tracer.begin(random(*number), &NOTHING).spans.is_some())
        .count();
    assert!((800..1200).contains(&taken), "{taken}");
    let all = self::tracer(1.0, false, false);
    assert!(all.begin([0xff; 16], &NOTHING).spans.is_some());
    assert!(all.begin([0; 16], &NOTHING).spans.is_some());
}

#[test]
fn a_call_of_the_gateways_own_is_part_of_the_call_it_is_made_for() {
    let tracer = tracer(1.0, true, false);
    let outer = tracer.begin(random(1), &NOTHING);
    let outer_spans = outer.spans.as_ref().unwrap();
    let mut bits = random(2);
    bits[0] = 9;
    let inner = tracer.inner(&outer, bits).spans.unwrap();
    assert_eq!(inner.server.trace_id(), outer_spans.server.trace_id());
    assert_eq!(inner.parent, Some(outer_spans.server.span_id()));
    assert!(!inner.is_remote);
}
