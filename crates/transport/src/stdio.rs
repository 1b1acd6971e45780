//! MCP over the standard streams of a child process (`basic/transports/stdio`): one message per line.
//!
//! [`Connection::start`](crate::duplex::Connection::start) starts a process and carries many calls over it (see [`crate::duplex`]); [`Supervisor`] starts the
//! process again when it has ended. Messages stay the bytes that were evaluated, but for the id, for progress tokens where
//! callers share the process, and for line breaks between tokens, which would end the frame.

mod cgroup;
pub mod child;
mod line;
mod process;
mod pump;
mod reaper;
mod stderr;
mod supervisor;
mod tree;

pub use child::{ChildSettings, Launcher, Redact};
pub(crate) use line::flatten;
pub use reaper::{REAPER_COMMAND, guard, reap_children};
pub use supervisor::{Restart, Supervisor};
pub use tree::{adopt, end_all, end_survivors, reap};

#[cfg(test)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it wants and fails on the rest"
)]
mod tests;
