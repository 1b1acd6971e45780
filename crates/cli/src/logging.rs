//! What is written to standard error while the gateway runs.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};

/// Starts logging for the whole process. A second start changes nothing.
pub(crate) fn start(log: &Log) {
    // The level was checked when the configuration was read.
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = match log.format {
        LogFormat::Text => builder
            .with_ansi(io::stderr().is_terminal())
            .finish()
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
