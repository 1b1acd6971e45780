//! Both ends of Streamable HTTP, and stdio child processes; bytes to messages; knows no policy.
//!
//! Two faces. Towards clients: [`http::server`] accepts connections and hands requests to a service; [`body::Body`] is the
//! one response body. Towards servers: [`http::upstream::Endpoint`] sends a
//! message over HTTP, [`duplex::Connection`] carries many over the pipes of a child process ([`stdio`]) or over HTTP+SSE
//! ([`http::sse`]). Only this crate opens sockets to upstreams or
//! spawns processes.

mod alarm;
pub mod body;
mod clearance;
pub mod descriptors;
pub mod duplex;
#[cfg(test)]
mod fake;
pub mod http;
pub mod memory;
pub mod sse;
pub mod stdio;
mod turn;

pub use body::Body;
pub use clearance::{Clearance, Cleared};
