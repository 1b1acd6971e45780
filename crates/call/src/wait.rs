//! The wait of a call for a person, as its endpoint sees it.

use std::sync::{Arc, OnceLock};

/// Noted by the layer that holds a call, read by whoever answers its client.
#[derive(Debug, Default)]
pub struct Wait {
    /// Whether the response may begin, as a stream, before its answer is there.
    pub may_stream: bool,
    held: OnceLock<Arc<str>>,
}

impl Wait {
    /// The wait of a call whose response may begin as a stream before its answer is there, or may not.
    pub fn new(may_stream: bool) -> Self {
        Self {
            may_stream,
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
