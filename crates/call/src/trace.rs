//! Where a call stands in a distributed trace (W3C Trace Context, level 1).

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use keepgate_mcp::message::Message;

/// The longest `tracestate` that is kept; W3C asks for 512 characters at least.
const STATE_LONGEST: usize = 512;

/// One span as it is named on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace, never all zero.
    pub trace: [u8; 16],
    /// The span, never all zero.
    pub span: [u8; 8],
    /// Whether whoever named it records it.
    pub sampled: bool,
    /// What vendors carry along.
    pub state: Option<Box<str>>,
}

impl SpanContext {
    /// Reads `traceparent` and `tracestate`. `None` for whatever is not of the form W3C Trace Context §3.2 gives; a
    /// `tracestate` that is too long or not printable ASCII is left out.
    pub fn parse(parent: &[u8], state: Option<&[u8]>) -> Option<Self> {
        let version = hex::<1>(parent.get(..2)?)?[0];
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
        let trace = hex::<16>(parent.get(3..35)?)?;
        let span = hex::<8>(parent.get(36..52)?)?;
        let flags = hex::<1>(parent.get(53..55)?)?[0];
        if trace == [0; 16] || span == [0; 8] {
            return None;
        }
        let printable = |text: &&[u8]| {
            !text.is_empty()
                && text.len() <= STATE_LONGEST
                && text.iter().all(|byte| (0x20..0x7f).contains(byte))
        };
        let state = state
            .filter(printable)
            .and_then(|text| std::str::from_utf8(text).ok())
            .map(Box::from);
        Some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
            state,
        })
    }

    /// The value of `traceparent`.
    pub fn parent(&self) -> String {
        format!(
            "00-{}-{}-{:02x}",
            Hex(&self.trace),
            Hex(&self.span),
            u8::from(self.sampled)
        )
    }
}

/// Bytes as lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Lower-case hexadecimal digits, as the specification demands.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (slot, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *slot = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
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
    pub parent: Option<[u8; 8]>,
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
    use super::SpanContext;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_again() {
        let context = SpanContext::parse(PARENT.as_bytes(), Some(b"a=b,c=d")).unwrap();
        assert!(context.sampled);
        assert_eq!(context.state.as_deref(), Some("a=b,c=d"));
        assert_eq!(context.parent(), PARENT);
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
        ] {
            assert!(SpanContext::parse(bad.as_bytes(), None).is_none(), "{bad}");
        }
        let later = PARENT.replacen("00", "cc", 1) + "-later";
        assert!(SpanContext::parse(later.as_bytes(), None).is_some());
        let long = "x".repeat(513);
        for state in ["", "a\nb", &long] {
            let context = SpanContext::parse(PARENT.as_bytes(), Some(state.as_bytes()));
            assert_eq!(context.unwrap().state, None, "{state}");
        }
    }
}
