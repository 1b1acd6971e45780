//! Where a call stands in a distributed trace (W3C Trace Context, level 1).

use std::{
    borrow::Cow,
    str,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use keepgate_mcp::message::Message;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The longest `tracestate` that is kept; W3C asks for 512 characters at least.
const STATE_LONGEST: usize = 512;

/// A span of another process, as it was sent. What vendors carry along is read only when it is needed: most calls are not
/// recorded.
#[derive(Debug, Clone)]
pub struct Remote<'a> {
    context: SpanContext,
    state: Option<Cow<'a, str>>,
}

impl<'a> Remote<'a> {
    /// Reads `traceparent` and takes `tracestate` along. `None` for whatever is not of the form W3C Trace Context §3.2 gives.
    // Not the SDK's propagator: it takes short fields, signs, and space or a dash at the ends, and builds a list, a context
    // and a span for each call, recorded or not. This allocates nothing.
    pub fn parse(parent: &[u8], state: Option<Cow<'a, str>>) -> Option<Self> {
        let version = u8::from_str_radix(hex(parent.get(..2))?, 16).ok()?;
        // Later versions may be longer; their first four fields stay what they are (§4.3).
        let well_sized = match version {
            0 => parent.len() == 55,
            0xff => false,
            _ => parent.len() == 55 || parent.get(55) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| parent.get(*at) == Some(&b'-'));
        if !well_sized || !dashes {
            return None;
        }
        let trace = TraceId::from_hex(hex(parent.get(3..35))?).ok()?;
        let span = SpanId::from_hex(hex(parent.get(36..52))?).ok()?;
        let flags = u8::from_str_radix(hex(parent.get(53..55))?, 16).ok()?;
        if trace == TraceId::INVALID || span == SpanId::INVALID {
            return None;
        }
        let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
        let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
        Some(Self { context, state })
    }

    /// The span, without what vendors carry along.
    pub fn bare(&self) -> &SpanContext {
        &self.context
    }

    /// The whole of it. A `tracestate` that is too long, not printable ASCII or not a list of pairs is left out.
    pub fn whole(&self) -> SpanContext {
        self.flagged(self.context.trace_flags())
    }

    /// The whole of it, but recorded by nobody.
    pub fn unsampled(&self) -> SpanContext {
        self.flagged(TraceFlags::NOT_SAMPLED)
    }

    fn flagged(&self, flags: TraceFlags) -> SpanContext {
        let (trace, span) = (self.context.trace_id(), self.context.span_id());
        let state = self.state.as_deref().and_then(list).unwrap_or_default();
        SpanContext::new(trace, span, flags, true, state)
    }
}

/// The value of `traceparent` for a span.
pub fn parent(context: &SpanContext) -> String {
    let (trace, span) = (context.trace_id(), context.span_id());
    format!("00-{trace}-{span}-{:02x}", context.trace_flags())
}

/// Lower-case hexadecimal digits, as the specification demands; what reads numbers would take capitals and a sign.
fn hex(text: Option<&[u8]>) -> Option<&str> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let text = text.filter(|text| text.iter().all(is_digit))?;
    str::from_utf8(text).ok()
}

/// A `tracestate` (§3.3.1). The API's parser lets a key be empty, and drops equals signs before a value.
fn list(text: &str) -> Option<TraceState> {
    if text.len() > STATE_LONGEST || !text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return None;
    }
    let is_list = text.split(',').map(str::trim).all(|member| {
        let pair = member.split_once('=');
        member.is_empty()
            || pair.is_some_and(|(key, value)| !key.is_empty() && !value.starts_with('='))
    });
    is_list.then(|| text.parse().ok()).flatten()
}

/// What policy decided of a recorded call.
#[derive(Debug)]
pub struct Judgement {
    /// `allow` or `approve`.
    pub effect: &'static str,
    /// The revision of the policy.
    pub revision: Arc<str>,
    /// The code of the first reason.
    pub reason: Option<Arc<str>>,
}

/// The two spans of a call that is recorded.
#[derive(Debug)]
pub struct Spans {
    /// The span of the call itself.
    pub server: SpanContext,
    /// The span of its way to the server, as the server will see it.
    pub client: SpanContext,
    /// The span it is a part of, if any.
    pub parent: Option<SpanId>,
    /// Whether that span is another process's.
    pub is_remote: bool,
    /// Contexts it has to do with and is no part of.
    pub links: Vec<SpanContext>,
    /// What policy decided, once it has.
    pub judgement: OnceLock<Judgement>,
    /// The public name of the session, once it is known; never its id.
    pub session: OnceLock<Box<str>>,
}

/// Where a call stands in a trace, and what is noted of it on its way.
#[derive(Debug, Default)]
pub struct Trace {
    /// The call's spans, if it is recorded. Most are not.
    pub spans: Option<Box<Spans>>,
    /// What travels in the header of a call that is not recorded: the context of a client that is trusted with it.
    pub passing: Option<Box<SpanContext>>,
    /// Whether the server has listed the tool the call is for: only then may its name be a label.
    is_listed: AtomicBool,
    sent: OnceLock<Message>,
}

impl Trace {
    /// The trace of a call that is recorded.
    pub fn recorded(spans: Spans) -> Self {
        Self {
            spans: Some(Box::new(spans)),
            ..Self::default()
        }
    }

    /// The trace of a call that is not recorded and in whose header `context` travels.
    pub fn passing(context: SpanContext) -> Self {
        Self {
            passing: Some(Box::new(context)),
            ..Self::default()
        }
    }

    /// Notes that the server has listed the tool.
    pub fn list(&self) {
        self.is_listed.store(true, Ordering::Relaxed);
    }

    /// Whether the server has listed the tool.
    pub fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Relaxed)
    }

    /// Sets what is sent in place of the client's message: the same, but for the context in `params._meta`.
    pub fn send(&self, message: Message) {
        // Set once: a call is armed once.
        let _first = self.sent.set(message);
    }

    /// What is sent in place of the client's message, if anything.
    pub fn sent(&self) -> Option<&Message> {
        self.sent.get()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceState;

    use super::{Remote, parent};

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_again() {
        let remote = Remote::parse(PARENT.as_bytes(), Some("a=b,c=d".into())).unwrap();
        assert!(!remote.unsampled().is_sampled());
        let context = remote.whole();
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(context.trace_state().header(), "a=b,c=d");
        assert_eq!(parent(&context), PARENT);
    }

    #[test]
    fn what_is_malformed_is_no_context() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
        ] {
            assert!(Remote::parse(bad.as_bytes(), None).is_none(), "{bad}");
        }
        let later = PARENT.replacen("00", "cc", 1) + "-later";
        assert!(Remote::parse(later.as_bytes(), None).is_some());
        let long = format!("a={0},b={0},c=d", "x".repeat(252));
        for state in ["", "a=\nb", "a", "=b", "a==b", "A=b", &long] {
            let context = Remote::parse(PARENT.as_bytes(), Some(state.into()));
            let context = context.unwrap().whole();
            assert_eq!(*context.trace_state(), TraceState::NONE, "{state}");
        }
    }
}
