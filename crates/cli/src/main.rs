//! The `keepgate` binary: hands the process's surroundings to the library and ends with its code.

use std::io;
use std::process::ExitCode;

use keepgate_cli::Surroundings;

/// The gateway allocates small things on many threads; the system's allocator costs several times as much there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let exit = keepgate_cli::run(
        std::env::args_os(),
        Surroundings {
            variables: std::env::vars_os().collect(),
            stdout: &mut io::stdout().lock(),
            stderr: &mut io::stderr(),
        },
    );
    ExitCode::from(exit.code())
}
