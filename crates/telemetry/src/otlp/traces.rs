//! Spans as OTLP.

use std::time::{SystemTime, UNIX_EPOCH};

use keepgate_call::trace::SpanContext;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::any_value,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span as Encoded, Status, span::Link, span::SpanKind, status,
    },
};

use super::{Resource, attribute, scope};
use crate::trace::{Side, Span, Value};

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
    let kind = match span.side {
        Side::Server => SpanKind::Server,
        Side::Client => SpanKind::Client,
        Side::Internal => SpanKind::Internal,
    };
    let remote = if span.is_remote { REMOTE } else { 0 };
    Encoded {
        trace_id: span.context.trace.to_vec(),
        span_id: span.context.span.to_vec(),
        trace_state: state(&span.context),
        parent_span_id: span.parent.map(|id| id.to_vec()).unwrap_or_default(),
        flags: SAMPLED | REMOTE_KNOWN | remote,
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: began,
        end_time_unix_nano: began.saturating_add(took),
        attributes: span
            .attributes
            .into_iter()
            .map(|(key, value)| {
                let value = match value {
                    Value::Text(text) => any_value::Value::StringValue(text.into_owned()),
                    Value::Number(number) => any_value::Value::IntValue(number),
                };
                attribute(key, value)
            })
            .collect(),
        links: span.links.iter().map(link).collect(),
        status: span.error.map(|error| Status {
            message: error.into_owned(),
            code: status::StatusCode::Error.into(),
        }),
        ..Encoded::default()
    }
}

fn link(context: &SpanContext) -> Link {
    Link {
        trace_id: context.trace.to_vec(),
        span_id: context.span.to_vec(),
        trace_state: state(context),
        flags: u32::from(context.sampled) | REMOTE_KNOWN | REMOTE,
        ..Link::default()
    }
}

fn state(context: &SpanContext) -> String {
    context.state.as_deref().unwrap_or_default().to_owned()
}

/// Nanoseconds since 1970.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
