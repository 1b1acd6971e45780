//! The environment of `serve`: everything in it that only the gateway reads is handed over in memory.
//!
//! A process keeps the environment it was started with, and `/proc/PID/environ` shows it for as long as the process lives,
//! whatever it forgets meanwhile. So `serve` starts itself once more, with those variables in a file that has no name and
//! that nobody else has open.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;

use clap::Parser;
use keepgate_transport::stdio::ChildSettings;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::arguments::{Arguments, Command};

/// Names the descriptor of the file, to the process that is started again.
const VARIABLE: &str = "KEEPGATE_PASSED";
/// Variables that libraries and the loader read by themselves, besides those that children get. No secret is in them.
const KEPT: [&str; 9] = [
    "CREDENTIALS_DIRECTORY",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    VARIABLE,
];

/// Variables by name.
type Variables = Vec<(OsString, OsString)>;

/// Returns all variables this process was meant to have. For `serve` it starts the process again first, if there is
/// something to hide.
///
/// # Errors
/// When that fails: the gateway does not run with what it should not show.
pub fn variables(arguments: &[OsString], environment: Variables) -> io::Result<Variables> {
    if let Some((_, number)) = environment.iter().find(|(name, _)| name == VARIABLE) {
        let mut all = read(number)?;
        all.extend(environment.into_iter().filter(|(name, _)| name != VARIABLE));
        return Ok(all);
    }
    let is_serve = Arguments::try_parse_from(arguments)
        .is_ok_and(|arguments| matches!(arguments.command, Command::Serve));
    let (kept, private): (Variables, Variables) =
        environment.into_iter().partition(|(name, _)| is_kept(name));
    if is_serve && !private.is_empty() {
        return Err(start_again(arguments, kept, &private));
    }
    Ok(kept.into_iter().chain(private).collect())
}

fn is_kept(name: &OsStr) -> bool {
    let kept = KEPT.iter().chain(ChildSettings::INHERIT);
    kept.into_iter().any(|kept| name == *kept)
}

/// Becomes the same program again. Returns only when that fails.
fn start_again(arguments: &[OsString], kept: Variables, private: &Variables) -> io::Error {
    let written = || -> io::Result<File> {
        // Open in the program that is started: that is what it is for.
        let mut file = File::from(memfd_create("keepgate", MFdFlags::empty())?);
        for (name, value) in private {
            // Neither can hold a NUL.
            for part in [name.as_bytes(), b"=", value.as_bytes(), b"\0"] {
                file.write_all(part)?;
            }
        }
        Ok(file)
    };
    let file = match written() {
        Ok(file) => file,
        Err(error) => return error,
    };
    let number = file.as_raw_fd().to_string();
    #[expect(
        clippy::disallowed_methods,
        reason = "no second process is started: this process becomes itself again"
    )]
    let mut process = std::process::Command::new("/proc/self/exe");
    let (first, rest) = arguments.split_first().unzip();
    process
        .arg0(first.map_or_else(|| OsStr::new("keepgate"), OsString::as_os_str))
        .args(rest.unwrap_or_default())
        .env_clear()
        .envs(kept)
        .env(VARIABLE, number)
        .exec()
}

/// Reads what was handed over, and closes it.
fn read(number: &OsStr) -> io::Result<Variables> {
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{VARIABLE} is not ours"),
        )
    };
    let number: i32 = number
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)?;
    // Opened again by its name, so that it is read from its beginning.
    let mut bytes = Vec::new();
    File::open(format!("/proc/self/fd/{number}"))?.read_to_end(&mut bytes)?;
    nix::unistd::close(number)?;
    let entries = bytes
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let at = entry
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(wrong)?;
            let (name, value) = entry.split_at_checked(at).ok_or_else(wrong)?;
            let value = value.get(1..).unwrap_or_default();
            Ok((
                OsString::from_vec(name.to_vec()),
                OsString::from_vec(value.to_vec()),
            ))
        })
        .collect()
}
