//! `keepgate-demo`: the demo, its servers, its agent, and the rmcp peers for tests.

mod arguments;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let filter = EnvFilter::try_from_env("KEEPGATE_DEMO_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,rmcp=off"));
    // Standard output belongs to the protocol, the report or the story.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    arguments.run().await
}
