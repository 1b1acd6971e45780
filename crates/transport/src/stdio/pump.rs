//! The pipes of a process: messages in, lines out.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use keepgate_mcp::{Limits, repair, skim::Outline};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, ChildStdout},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::line::Lines;
use crate::duplex::{Answers, Core, DuplexError, OUTBOX};

/// Writes lines until it is stopped; then stdin is closed by being dropped.
pub(super) async fn write(
    stdin: ChildStdin,
    messages: mpsc::Receiver<Bytes>,
    stop: CancellationToken,
    core: Arc<Core>,
) {
    let written = stop.run_until_cancelled(write_all(stdin, messages)).await;
    let Some(Err(source)) = written else { return };
    // The process may have ended, and its status explains more: the keeper comes first.
    if timeout(Duration::from_millis(200), core.over.cancelled())
        .await
        .is_err()
    {
        core.end(DuplexError::Pipe(Arc::new(source)));
        stop.cancel();
    }
}

/// Writes what is there in one go: one system call for a burst of small messages.
async fn write_all(
    mut stdin: ChildStdin,
    mut messages: mpsc::Receiver<Bytes>,
) -> std::io::Result<()> {
    /// Beyond this many bytes copying costs more than a system call.
    const BURST: usize = 64 * 1024;
    let mut waiting = Vec::with_capacity(OUTBOX);
    let mut burst = BytesMut::new();
    while messages.recv_many(&mut waiting, OUTBOX).await > 0 {
        for line in waiting.drain(..) {
            burst.extend_from_slice(&line);
            burst.extend_from_slice(b"\n");
            if burst.len() > BURST {
                stdin.write_all(&burst).await?;
                burst = BytesMut::new();
            }
        }
        stdin.write_all(&burst).await?;
        stdin.flush().await?;
        burst.clear();
    }
    Ok(())
}

/// Reads messages to the end of stdout. With `_done` the keeper learns that no more will come.
pub(super) async fn read_all(stdout: ChildStdout, _done: DropGuard, core: Arc<Core>) {
    let cap = core.max_message;
    let mut lines = Lines::new(stdout, cap);
    loop {
        match lines.next().await {
            Ok(Some(Ok(line))) => receive(&core, line),
            Ok(Some(Err(outline))) => skipped(&core, &outline),
            Ok(None) => return,
            Err(source) => {
                core.end(DuplexError::Pipe(Arc::new(source)));
                return;
            }
        }
    }
}

/// Decodes a line and hands its messages to their owners.
fn receive(core: &Core, line: Bytes) {
    let server = core.name.as_str();
    let limits = Limits {
        bytes: core.max_message,
        ..Limits::reply()
    };
    let repaired = |repair| tracing::warn!(server, "{repair}");
    // The client's id is written in place where nobody else has the bytes, so this is let go before.
    let text = line.clone();
    match repair::decode(line, &limits, repaired) {
        Ok(body) => {
            drop(text);
            core.deliver(&body);
        }
        Err(error) => {
            // Whoever waits for what it answers would wait for nothing.
            let calls = core.fail_unreadable(Answers::among_noise(&Outline::of(&text)));
            tracing::warn!(
                server,
                %error,
                calls,
                "dropped a line on stdout that is no message"
            );
        }
    }
}

/// Ends the call that a line over the cap answers.
fn skipped(core: &Core, outline: &Outline) {
    let calls = core.fail_too_long(Answers::among_noise(outline));
    tracing::warn!(
        server = core.name,
        cap = core.max_message,
        calls,
        "dropped a line on stdout that is longer than limits.result"
    );
}
