//! The gateway from outside: one module per concern.

mod hostile_client;
mod hostile_upstream;
mod peers;
mod sessions;
mod spine;
