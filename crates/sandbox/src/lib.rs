//! The launcher of child processes.
//!
//! A server that is a child process runs as the gateway's user, and what that user may read holds the keys of the house:
//! the admin token, the key that signs the audit log, the secrets of other servers. So the binary starts itself first:
//! [`launch`] gives up every capability and the chance to get one back, enters a Landlock domain, closes what it was not
//! handed, takes the configured user, and then becomes the program. It is written without `unsafe`, which a hook between
//! fork and exec would need.
//!
//! Landlock only grants: below a directory that is granted nothing can be denied. So what is hidden is left out by
//! granting every entry of each directory on the way to it, see `plan.rs`.

mod account;
mod kernel;
mod launch;
mod mounts;
mod plan;
mod processes;
mod rules;

pub use account::{Account, AccountError};
pub use kernel::{Feature, VARIABLE as ABI_VARIABLE, abi};
pub use launch::{COMMAND, LaunchError, launch};
pub use plan::PlanError;
pub use processes::hides_processes;
pub use rules::{Files, Rules};
