//! `keepgate-demo`: the demo, its servers, its agent, and the rmcp peers for tests.

mod arguments;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let filter = EnvFilter::try_from_env("KEEPGATE_DEMO_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,rmcp=off"));
    // Standard output belongs to the protocol, the report or the story.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(arguments.run());
    // A read of standard input cannot be called back; waiting for it would keep us here.
    runtime.shutdown_background();
    code
}
