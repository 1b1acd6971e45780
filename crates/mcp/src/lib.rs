//! JSON-RPC and MCP messages, revisions and SSE framing; no IO, no clock.
//!
//! Everything a peer sends is judged here once, strictly, and kept as the bytes that came: a [`Message`] is a buffer plus
//! the places of its members, so what travels on is what was judged. Floor 0 of the workspace: this crate knows no HTTP
//! type, no runtime and no policy.

pub mod encode;
pub mod era;
pub mod error;
pub mod fold;
pub mod header;
pub mod host;
pub mod id;
pub mod json;
pub mod list;
pub mod message;
pub mod method;
pub mod mirror;
pub mod repair;
pub mod revision;
pub mod schema;
pub mod skim;
pub mod sse;
mod steps;
pub mod uri;
pub mod visible;

pub use era::{EraError, EraFault, Framing, classify};
pub use error::{DecodeError, DecodeFault};
pub use header::Mirrored;
pub use id::Id;
pub use json::{Kind, Limits, Raw};
pub use list::Listing;
pub use message::{Body, Message, Meta, Notification, Request, Response, decode};
pub use method::{Direction, ListKind, Method, Reference, Subject};
pub use revision::{Era, Facts, Revision};
