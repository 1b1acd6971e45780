//! The calling end.
