//! Who is calling: API keys, access tokens and the anonymous caller.
//!
//! The gateway asks [`Authenticator`] once per HTTP request and gets a shared [`Caller`](keepgate_call::Caller) or a
//! reason why there is none. The command line works on [`ApiKeys`], the store behind it; both meet in two files of the state
//! directory, so a key made or revoked by a command counts in the running gateway as soon as it reloads.

mod authenticator;
mod key;
pub mod oauth;
mod store;

pub use authenticator::{Authenticator, AuthnError, KeyName, KeyState};
pub use store::{ApiKey, ApiKeys, CreatedKey, KeyRequest, KeyStatus, StoreError};
