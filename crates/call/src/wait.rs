//! The wait of a call for a person, as its endpoint sees it.

use std::sync::{Arc, OnceLock};

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

/// Noted by the layer that holds a call, read by whoever answers its client.
#[derive(Debug, Default)]
pub struct Wait {
    /// Whether the response may begin, as a stream, before its answer is there.
    pub may_stream: bool,
    /// The state of ours that its client has brought back.
    pub state: Option<BroughtState>,
    held: OnceLock<Arc<str>>,
}

impl Wait {
    /// The wait of a call whose response may begin as a stream before its answer is there, or may not.
    pub fn new(may_stream: bool, state: Option<BroughtState>) -> Self {
        Self {
            may_stream,
            state,
            held: OnceLock::new(),
        }
    }

    /// Notes that the call is held for this approval, so that its client hears of it meanwhile. Once.
    pub fn hold(&self, approval: &Arc<str>) {
        let _first = self.held.set(Arc::clone(approval));
    }

    /// The approval the call is held for.
    pub fn held(&self) -> Option<&str> {
        self.held.get().map(|id| &**id)
    }
}
