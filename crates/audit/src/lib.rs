//! The signed record of every call: writing, verifying, reading.
//!
//! One directory is one log: canonical JSON records ([`Record`]) as the leaves of a Merkle tree laid out as C2SP
//! tlog-tiles, with Ed25519-signed checkpoints (C2SP signed-note). [`Log`] appends, [`verify()`] checks a directory offline
//! with nothing but the public key, [`Reader`] reads it, also while it grows.
//!
//! ```text
//! <directory>/checkpoint            signed tree head, replaced atomically
//! <directory>/tile/<L>/<N>[.p/<W>]  hash tiles                                    (C2SP tlog-tiles)
//! <directory>/tile/entries/<N>[.p/<W>]  256 records each, u16 length before each  (C2SP tlog-tiles)
//! <directory>/tail.<N>              the bundle being written; renamed to tile/entries/<N> when it holds 256 records
//! <directory>/log.pub               the public key, as `origin+id+key`            (C2SP signed-note, "vkey")
//! <directory>/private/              signing key and digest key, 0600; not needed to read or verify
//! <directory>/lock                  held by the one process that writes
//! ```

mod checkpoint;
mod health;
mod key;
mod layout;
mod log;
mod reader;
mod record;
mod settings;
mod tree;
mod verify;

pub use health::{Health, State};
pub use key::{KeyError, PUBLIC_KEY_FILE, PublicKey, origin_of};
pub use log::{Append, AppendError, Log, OpenError, Position, is_in_use};
pub use reader::search::{Found, SearchBounds, search};
pub use reader::{Entry, ReadError, Reader, Start, find, look_back};
pub use record::{
    Caller, Client, Credential, Decision, Kind, Outcome, Reason, Record, Repeat, Scope, Shadow,
    Status,
};
pub use settings::{Durability, Settings};
pub use verify::{Against, Finding, Problem, Report, Verdict, VerifyError, verify};
