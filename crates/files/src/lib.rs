//! Files that only Keepgate changes: private ones, replaced whole, and logs that rotate. One rule decides whom a file of
//! keys or secrets may be open to.

mod error;
mod lock;
mod read;
mod replace;
mod rotate;
mod rule;

pub use error::FileError;
pub use lock::{Lock, lock};
pub use read::{check, check_directory, open, read, read_or_create, read_secret};
pub use replace::{Replacement, create_directory, replace, replace_public};
pub use rotate::Rotated;
