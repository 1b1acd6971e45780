//! Spans as OTLP.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::KeyValue,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span as Encoded, Status, span::Link, span::SpanKind, status,
    },
};

use super::{Resource, scope};
use crate::trace::Span;

/// Bits of `Span.flags`: the W3C flags, and that it is known whether the parent is remote.
const SAMPLED: u32 = 1;
const REMOTE_KNOWN: u32 = 1 << 8;
const REMOTE: u32 = 1 << 9;

/// One request with all `spans`.
pub(crate) fn traces(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.encode()),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans: spans.into_iter().map(encode).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn encode(span: Span) -> Encoded {
    let began = nanoseconds(span.began);
    let took = u64::try_from(span.took.as_nanos()).unwrap_or(u64::MAX);
    let remote = if span.is_remote { REMOTE } else { 0 };
    Encoded {
        trace_id: span.context.trace_id().to_bytes().to_vec(),
        span_id: span.context.span_id().to_bytes().to_vec(),
        trace_state: span.context.trace_state().header(),
        parent_span_id: span
            .parent
            .map(|id| id.to_bytes().to_vec())
            .unwrap_or_default(),
        flags: SAMPLED | REMOTE_KNOWN | remote,
        name: span.name,
        kind: SpanKind::from(span.kind).into(),
        start_time_unix_nano: began,
        end_time_unix_nano: began.saturating_add(took),
        attributes: span
            .attributes
            .into_iter()
            .map(|attribute| KeyValue {
                key: attribute.key.into(),
                value: Some(attribute.value.into()),
                ..KeyValue::default()
            })
            .collect(),
        links: span.links.into_iter().map(link).collect(),
        status: span.error.map(|error| Status {
            message: error.into_owned(),
            code: status::StatusCode::Error.into(),
        }),
        ..Encoded::default()
    }
}

/// What is linked came from a client, and says so itself.
fn link(context: trace::SpanContext) -> Link {
    trace::Link::with_context(context).into()
}

/// Nanoseconds since 1970.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
