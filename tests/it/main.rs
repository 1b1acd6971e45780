//! The gateway from outside: one module per concern.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail their test by panicking; JSON values index without it"
)]

mod announcements;
mod breakers;
mod call_ids;
mod capacity;
mod claude_ai;
mod cors;
mod credentials;
mod deploy;
mod front;
mod held_calls;
mod hostile_client;
mod hostile_upstream;
mod kill;
mod limits;
mod listen_sse;
mod memory;
mod notices;
mod obligations;
mod peers;
mod phases;
mod processes;
mod records;
mod reloads;
mod sessions;
mod sloppy;
mod spine;
mod sse;
mod tidy;
mod trust;
