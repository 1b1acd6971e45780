//! The operators' listener: health, metrics, inventory. Cannot reach the data path.
//!
//! What it shows comes from a [`Source`] the binary supplies; nothing here knows the gateway, so nothing here can hold a
//! call up, and a full or failing audit log does not keep an operator out.

mod page;
mod service;
mod source;
mod token;

pub use service::{Admin, Response};
pub use source::{Part, Server, Source};
pub use token::{Token, TokenError};
