//! The trace context on its way to the server, and what of a client's context stays here.
//!
//! A recorded call tells the server its own span, in the header and in `params._meta` (SEP-414), in place of whatever the
//! client said there. A call that is not recorded goes as it came. A client's `baggage` stays here, but for the members the
//! configuration names. These three keys of `_meta` are all that may differ from the bytes that were judged; the outcome is
//! judged again by the same rules.

use http::{HeaderMap, HeaderName, HeaderValue};
use keepgate_call::{Call, Code, Refusal, trace};
use keepgate_mcp::encode;
use keepgate_telemetry::trace::Tracer;
use opentelemetry::trace::SpanContext;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// Puts the context of `call` where the server will look for it.
pub(super) fn attach(call: &Call, tracer: &Tracer, headers: &mut HeaderMap) -> Result<(), Refusal> {
    let ours = call
        .trace
        .spans
        .as_ref()
        .filter(|_| tracer.propagates())
        .map(|spans| &spans.client);
    if let Some(context) = ours.or(call.trace.passing.as_deref()) {
        header(context, headers)?;
    }
    let Some(message) = call.judged() else {
        return Ok(());
    };
    if message.method().is_none() {
        return Ok(());
    }
    let meta = message.meta();
    let carried = meta.member("baggage");
    if ours.is_none() && carried.is_none() {
        return Ok(());
    }
    let parent = ours.map(|context| encode::escape(&trace::parent(context)));
    let state = ours.and_then(state);
    let state = state.map(|state| encode::escape(&state));
    let baggage = carried.and_then(|_| kept(&meta.baggage()?, tracer.baggage()));
    let baggage = baggage.map(|baggage| encode::escape(&baggage));
    let mut changes = vec![("baggage", baggage.as_deref())];
    if ours.is_some() {
        changes.push(("traceparent", parent.as_deref()));
        changes.push(("tracestate", state.as_deref()));
    }
    let sent = message
        .with_meta_keys(&changes)
        .map_err(|error| Refusal::new(Code::Internal).source(error))?;
    call.trace.send(sent);
    Ok(())
}

fn header(context: &SpanContext, headers: &mut HeaderMap) -> Result<(), Refusal> {
    let invalid = |error| Refusal::new(Code::Internal).source(error);
    let parent = HeaderValue::try_from(trace::parent(context)).map_err(invalid)?;
    headers.insert(PARENT, parent);
    if let Some(state) = state(context) {
        headers.insert(STATE, HeaderValue::try_from(state).map_err(invalid)?);
    }
    Ok(())
}

/// The value of `tracestate`, if vendors carry anything along.
fn state(context: &SpanContext) -> Option<String> {
    let state = context.trace_state().header();
    (!state.is_empty()).then_some(state)
}

/// The members of a baggage whose keys are `listed` (W3C Baggage §3.3); `None` if none is left.
fn kept(baggage: &str, listed: &[String]) -> Option<String> {
    let is_listed = |member: &&str| {
        let key = member.split(['=', ';']).next().unwrap_or_default().trim();
        listed.iter().any(|listed| listed == key)
    };
    let members: Vec<&str> = baggage
        .split(',')
        .map(str::trim)
        .filter(is_listed)
        .collect();
    (!members.is_empty()).then(|| members.join(","))
}

#[cfg(test)]
mod tests {
    use super::kept;

    #[test]
    fn only_listed_members_of_a_baggage_travel() {
        let listed = ["tenant".to_owned(), "run".to_owned()];
        let baggage = "user=alice, tenant = acme;meta=1,run=7,tenantx=2";
        assert_eq!(
            kept(baggage, &listed).as_deref(),
            Some("tenant = acme;meta=1,run=7")
        );
        assert_eq!(kept(baggage, &[]), None);
        assert_eq!(kept("", &listed), None);
    }
}
