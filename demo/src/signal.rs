//! When to stop: on Ctrl-C, on `SIGTERM`, or when whoever started us is gone.

use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first `SIGINT` or `SIGTERM`.
#[must_use]
pub fn stop() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        match (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        ) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                stopped.cancel();
            }
            // Without handlers the signals keep their default, which also ends the process.
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "cannot listen to signals");
            }
        }
    });
    stop
}

/// Cancels `stop` once standard input is closed: a parent that dies in any way closes it.
pub fn stop_with_stdin(stop: CancellationToken) {
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut ignored = [0; 256];
        while let Ok(read) = stdin.read(&mut ignored).await {
            if read == 0 {
                break;
            }
        }
        stop.cancel();
    });
}
