//! Writes a record as canonical JSON.
pub(crate) struct LogNote;
pub(crate) struct Stamp;
pub(crate) const fn write() {}
