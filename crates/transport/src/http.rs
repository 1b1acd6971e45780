//! Streamable HTTP, both ends.

pub mod client;
pub mod server;
pub mod tls;
pub mod upstream;
