//! Keepgate's demo.
//!
//! Two small MCP servers ([`crm`] over HTTP, [`notes`] over stdio), an agent that uses them, and a
//! scene that puts Keepgate between them and shows what happens. For tests there is also a
//! [`fixture`] server with one of everything and a [`driver`] that tries it all. Everything is
//! built on rmcp, the official Rust SDK, so that both ends of the gate are somebody else's code.

pub mod agent;
pub mod connect;
pub mod console;
pub mod crm;
pub mod driver;
pub mod fixture;
pub mod notes;
pub mod reply;
pub mod scene;
pub mod serve;
pub mod signal;

/// An error and everything it came from, on one line.
#[must_use]
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
