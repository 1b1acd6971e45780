//! Streamable HTTP, both ends.

pub mod client;
mod pool;
pub mod server;
mod stream;
pub mod tls;
pub mod upstream;
