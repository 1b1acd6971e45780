//! The gateway from outside: one module per concern.

mod hostile_client;
mod hostile_upstream;
mod sessions;
mod spine;
