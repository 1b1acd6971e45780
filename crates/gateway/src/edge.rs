//! What an HTTP request meets before it is a call. `stack.rs` says in which order.

pub mod authn;
pub mod cors;
pub mod endpoint;
pub mod location;
pub mod metadata;
pub mod origin;
pub mod render;
pub mod room;
