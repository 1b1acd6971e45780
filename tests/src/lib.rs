//! What the tests share: a gateway in this process, a server that does as it is told, and a client that sends what it is
//! given.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a harness fails its test by panicking; JSON values index without it"
)]

pub mod approvals;
pub mod client;
pub mod gateway;
pub mod sse;
pub mod upstream;
pub mod vault;

pub use keepgate_machine::{free_port, installed, skip};

/// Time in which whatever a test waits for must have come. Only something that hangs takes that long, also on a machine that
/// does much else.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

pub use client::{Answer, Client, Events};
pub use gateway::TestGateway;
pub use sse::SseServer;
pub use upstream::{FakeServer, Gate, Heard, Say};
pub use vault::FakeVault;
