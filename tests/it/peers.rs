//! The program `keepgate`, run as an operator runs it, between real clients and real servers from npm, PyPI and crates.io.
//!
//! `make peers` installs them; `tests/peers/README.md` says what they are.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "helpers of tests fail them by panicking and print what processes wrote; JSON values index without it"
)]

mod admin_tls;
mod approvals;
mod bridge;
mod browser;
mod bundles;
mod conformance;
mod console;
mod crashes;
mod credentials;
mod decisions;
mod definitions;
mod drivers;
mod egress;
mod faults;
mod floods;
mod gate;
mod grants;
mod hostile_policies;
mod import;
mod keys;
mod kill;
mod kill_blind;
mod listen_sse;
mod logs;
mod matrix;
mod mutual_tls;
mod notifications;
mod nulls;
mod opa;
mod operations;
mod overload;
mod permissions;
mod plaintext;
mod process;
mod readmission;
mod reload;
mod restarts;
mod resume;
mod reverse_proxy;
mod rungs;
mod sandbox;
mod servers;
mod shadow;
mod shared;
mod telemetry;
mod tls;
mod tokens;
mod vault;

/// Runs `hvac_drive.py` against a vault; gives what it printed.
pub(crate) async fn hvac(address: &str, what: &str, words: &[&str]) -> String {
    let words: Vec<&str> = [&[address, what][..], words].concat();
    let done = process::run("hvac_drive.py", &words, &[]).await;
    done.stdout + &done.stderr
}
