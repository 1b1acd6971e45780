//! The wait of a call for a person, as its endpoint sees it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

/// The state of ours that a client has brought back with a call that waits (`requestState`, 2026-07-28 `basic/patterns/mrtr`).
#[derive(Debug, Clone)]
pub struct BroughtState {
    /// Sealed, as it came.
    pub text: Box<str>,
    /// Whether the client's user does not want to follow the link that came with it.
    pub is_declined: bool,
}

/// A state as it was sealed. It decides nothing: the digest and the store do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallState {
    /// The approval the call waits for.
    pub approval: Arc<str>,
    /// Digest of the call.
    pub digest: [u8; 32],
    /// Its end, in milliseconds of Unix time.
    pub expires_ms: u64,
    /// The round it is for.
    pub round: u8,
    /// Time the first held round began, in milliseconds of Unix time; 0 when none has begun.
    pub began_ms: u64,
}

/// Whether a call is the one that tries what is behind a half-open circuit breaker. Others may while it waits for a person.
#[derive(Debug, Default)]
pub struct HalfOpen {
    /// That of its session.
    pub session: AtomicBool,
    /// That of its caller at the server.
    pub caller: AtomicBool,
    /// That of all callers at the server.
    pub all: AtomicBool,
}

/// Noted by the layer that holds a call, read by whoever answers its client.
#[derive(Debug, Default)]
pub struct Wait {
    /// Whether the response may begin, as a stream, before its answer is there.
    pub may_stream: bool,
    /// The state of ours that its client has brought back.
    pub state: Option<BroughtState>,
    /// The circuit breakers it tries.
    pub half_open: HalfOpen,
    held: OnceLock<(Arc<str>, Option<Box<str>>)>,
    is_declined: AtomicBool,
}

impl Wait {
    /// The wait of a call whose response may begin as a stream before its answer is there, or may not.
    pub fn new(may_stream: bool) -> Self {
        Self {
            may_stream,
            ..Self::default()
        }
    }

    /// Notes that the call is held for this approval, so that its client hears of it meanwhile; with the link that its user is
    /// to follow, where the client can show one. Once.
    pub fn hold(&self, approval: &Arc<str>, link: Option<Box<str>>) {
        let _first = self.held.set((Arc::clone(approval), link));
    }

    /// The approval the call is held for.
    pub fn held(&self) -> Option<&str> {
        self.held.get().map(|(id, _)| &**id)
    }

    /// The link that its user is to follow meanwhile.
    pub fn link(&self) -> Option<&str> {
        self.held.get()?.1.as_deref()
    }

    /// Notes that the client's user does not want to follow the link.
    pub fn decline(&self) {
        self.is_declined.store(true, Ordering::Release);
    }

    /// Whether the client's user does not want to follow the link: then nobody there waits.
    pub fn is_declined(&self) -> bool {
        self.is_declined.load(Ordering::Acquire)
    }
}
