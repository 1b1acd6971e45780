//! One file per concern. `stack.rs` says in which order they stand.

pub mod approval;
pub mod audit;
pub mod breaker;
pub mod catalog;
pub mod credential;
pub mod kill;
pub mod limit;
pub mod measure;
pub mod obligation;
pub mod policy;
pub mod session;
