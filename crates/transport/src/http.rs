//! Streamable HTTP, both ends, and the calling end of HTTP+SSE.

pub mod client;
mod decoded;
mod pool;
pub mod server;
pub mod sse;
mod stream;
pub mod tls;
pub mod upstream;

/// What one HTTP/1.1 connection may buffer on its own, in bytes; `limits.memory` counts what is held beyond it.
pub const BUFFER: usize = 128 * 1024;
