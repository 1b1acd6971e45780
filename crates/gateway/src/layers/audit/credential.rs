//! The credentials of a call in its records: references, and digests of leases.

use std::sync::Arc;

use keepgate_audit::Credential;
use keepgate_call::{CredentialNote, Lease};

/// The digests of the leases; `None` without any. Of several credentials one for each in the order of their references, with
/// spaces between, and `-` for one without a lease.
pub(super) fn leases(note: &CredentialNote, digest: impl Fn(&[u8]) -> String) -> Option<String> {
    let of = |id: &Arc<str>| digest(id.as_bytes());
    Some(match note.lease()? {
        Lease::One(id) => of(id),
        Lease::Each(ids) => {
            let ids = ids.iter().map(Option::as_ref);
            let digests = ids.map(|id| id.map_or_else(|| "-".to_owned(), of));
            digests.collect::<Vec<_>>().join(" ")
        }
    })
}

/// The credentials of a call.
pub(super) fn sent<'a>(note: &'a CredentialNote, lease: Option<&'a str>) -> Option<Credential<'a>> {
    let masked = u64::from(note.places_masked());
    Some(Credential {
        reference: note.reference()?,
        lease_id: lease,
        fault: note.fault(),
        masked: (masked > 0).then_some(masked),
    })
}
