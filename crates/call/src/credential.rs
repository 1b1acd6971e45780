//! What is noted of the credential a call was sent with; never the credential.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// Filled in on the way down and read when the outcome is recorded.
#[derive(Debug, Default)]
pub struct CredentialNote {
    reference: OnceLock<Arc<str>>,
    lease: OnceLock<Arc<str>>,
    fault: OnceLock<&'static str>,
    masked: AtomicU32,
}

impl CredentialNote {
    /// Notes which reference the call needs. Each is noted once; a call has one server.
    pub fn wanted(&self, reference: Arc<str>) {
        let _first = self.reference.set(reference);
    }

    /// Notes the id of the lease that was attached.
    pub fn leased(&self, lease: Arc<str>) {
        let _first = self.lease.set(lease);
    }

    /// Notes why there was none, by a stable word.
    pub fn failed(&self, fault: &'static str) {
        let _first = self.fault.set(fault);
    }

    /// Notes that so many places of the answer held the secret and were masked.
    pub fn masked(&self, places: usize) {
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        self.masked.fetch_add(places, Ordering::AcqRel);
    }

    /// The reference, if the call needs a credential.
    pub fn reference(&self) -> Option<&Arc<str>> {
        self.reference.get()
    }

    /// The lease's id, if it has one. Records carry a keyed digest of it.
    pub fn lease(&self) -> Option<&Arc<str>> {
        self.lease.get()
    }

    /// Why there was no credential.
    pub fn fault(&self) -> Option<&'static str> {
        self.fault.get().copied()
    }

    /// How many places were masked.
    pub fn places_masked(&self) -> u32 {
        self.masked.load(Ordering::Acquire)
    }
}
