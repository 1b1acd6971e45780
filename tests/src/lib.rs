//! What the tests share: a gateway in this process, a server that does as it is told, and a client that sends what it is
//! given.

pub mod client;
pub mod gateway;
pub mod upstream;

pub use client::{Answer, Client};
pub use gateway::TestGateway;
pub use upstream::{FakeServer, Heard, Say};
