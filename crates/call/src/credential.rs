//! What is noted of the credentials a call was sent with; never the credential.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// The ids of leases, not secret and nobody's business: records carry keyed digests of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lease {
    /// Of the only credential.
    One(Arc<str>),
    /// Of each of several credentials, in the order of their references, as far as they have one.
    Each(Box<[Option<Arc<str>>]>),
}

/// Filled in on the way down and read when the outcome is recorded.
#[derive(Debug, Default)]
pub struct CredentialNote {
    reference: OnceLock<Arc<str>>,
    lease: OnceLock<Lease>,
    fault: OnceLock<(&'static str, Arc<str>)>,
    masked: AtomicU32,
}

impl CredentialNote {
    /// Notes which references the call needs, with spaces between them. Each is noted once; a call has one server.
    pub fn wanted(&self, reference: Arc<str>) {
        let _first = self.reference.set(reference);
    }

    /// Notes the leases of what was attached.
    pub fn leased(&self, lease: Lease) {
        let _first = self.lease.set(lease);
    }

    /// Notes why there was none, by a stable word, and the reference that gave none.
    pub fn failed(&self, fault: &'static str, reference: Arc<str>) {
        let _first = self.fault.set((fault, reference));
    }

    /// Notes that so many places of the answer held the secret and were masked.
    pub fn masked(&self, places: usize) {
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        self.masked.fetch_add(places, Ordering::AcqRel);
    }

    /// The references, if the call needs credentials; where one gave none, that one.
    pub fn reference(&self) -> Option<&Arc<str>> {
        let failed = self.fault.get().map(|(_, reference)| reference);
        failed.or_else(|| self.reference.get())
    }

    /// The leases, if there are any.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.get()
    }

    /// Why there was no credential.
    pub fn fault(&self) -> Option<&'static str> {
        self.fault.get().map(|(word, _)| *word)
    }

    /// How many places were masked.
    pub fn places_masked(&self) -> u32 {
        self.masked.load(Ordering::Acquire)
    }
}
