//! The `keepgate` binary: hands the process's surroundings to the library and ends with its code.

use std::io;
use std::process::ExitCode;

use keepgate_cli::{Exit, Surroundings};

/// The gateway allocates small things on many threads; the system's allocator costs several times as much there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let variables = match keepgate_cli::variables(&arguments, std::env::vars_os().collect()) {
        Ok(variables) => variables,
        Err(error) => {
            let message =
                format!("failed to start without the variables that hold secrets: {error}");
            let exit = keepgate_cli::report(&arguments, Exit::Start, &message, &mut io::stderr());
            return ExitCode::from(exit.code());
        }
    };
    let exit = keepgate_cli::run(
        arguments,
        Surroundings {
            variables,
            stdout: &mut io::stdout().lock(),
            stderr: &mut io::stderr(),
        },
    );
    ExitCode::from(exit.code())
}
