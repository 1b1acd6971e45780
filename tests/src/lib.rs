//! What the tests share: a gateway in this process, a server that does as it is told, and a client that sends what it is
//! given.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a harness fails its test by panicking; JSON values index without it"
)]

pub mod client;
pub mod gateway;
pub mod upstream;
pub mod vault;

pub use client::{Answer, Client, Events};
pub use gateway::TestGateway;
pub use upstream::{FakeServer, Gate, Heard, Say};
pub use vault::FakeVault;
