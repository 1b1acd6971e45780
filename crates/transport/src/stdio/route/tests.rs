//! Owners of messages.
