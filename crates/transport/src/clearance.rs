//! Clearance of a message: asked for when a connection to its server is there, before anything of it leaves.
//!
//! Connecting may take seconds, and so may starting a process. Whoever may still stop the message until then is asked at the last
//! moment, here, and not by whoever hands it over.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

/// Answer of a [`Clearance`].
pub type Cleared<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// Decides at the last moment whether a message leaves.
pub trait Clearance: fmt::Debug + Send + Sync {
    /// Whether it may. Asked once for each message; one that may not is not sent, and fails.
    fn ask(&self) -> Cleared<'_>;
}

/// A clearance that is carried to where a message leaves.
#[derive(Debug, Clone)]
pub(crate) struct Carried(pub(crate) Arc<dyn Clearance>);
