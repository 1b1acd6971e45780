//! Who decides whether a call is recorded, and whose trace it is part of.

use keepgate_call::trace::SpanContext;

use super::{Carrier, Queue, Sampler, Tally, Tracer, Tracing};

struct Sent {
    message: Option<SpanContext>,
    header: Option<SpanContext>,
}

impl Carrier for Sent {
    fn message(&self) -> Option<SpanContext> {
        self.message.clone()
    }

    fn header(&self) -> Option<SpanContext> {
        self.header.clone()
    }
}

const NOTHING: Sent = Sent {
    message: None,
    header: None,
};

fn context(letter: u8, sampled: bool) -> SpanContext {
    SpanContext {
        trace: [letter; 16],
        span: [letter; 8],
        sampled,
        state: Some("vendor=1".into()),
    }
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
    assert_eq!(spans.server.trace, random(5));
    assert_eq!(spans.parent, None);
    assert_eq!(spans.server.state, None);
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
    assert_eq!((spans.server.trace, spans.parent), ([1; 16], Some([1; 8])));
    assert!(spans.is_remote);
    assert_eq!(spans.server.state.as_deref(), Some("vendor=1"));
    assert_eq!(spans.links, [context(2, true)]);
    assert_eq!(spans.client.trace, [1; 16]);
    assert_ne!(spans.client.span, spans.server.span);
    let only_header = Sent {
        message: None,
        header: Some(context(2, true)),
    };
    let spans = tracer(0.0, true, true)
        .begin(random(5), &only_header)
        .spans
        .unwrap();
    assert_eq!((spans.server.trace, spans.parent), ([2; 16], Some([2; 8])));
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
    assert_eq!(inner.server.trace, outer_spans.server.trace);
    assert_eq!(inner.parent, Some(outer_spans.server.span));
    assert!(!inner.is_remote);
}
