//! A child process as one side of a connection: started with a place, watched over to its end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    child::{Child, ChildSettings, Pipes},
    pump::{read_all, write},
    tree::Known,
};
use crate::{
    duplex::{Connection, Core, DuplexError, Handle, OUTBOX, Pipe, Place, Reserve, Sharing},
    memory::Budget,
};

impl Connection {
    /// Starts a child process, once it has a place. Must be called within a runtime.
    ///
    /// # Errors
    /// [`DuplexError::Full`] and [`DuplexError::Spawn`].
    pub async fn start(
        settings: ChildSettings,
        sharing: Sharing,
        reserve: Option<&Reserve>,
    ) -> Result<Self, DuplexError> {
        let place = match reserve {
            Some(reserve) => Some(reserve().await?),
            None => None,
        };
        Self::spawn(&settings, sharing, place)
    }

    pub(super) fn spawn(
        settings: &ChildSettings,
        sharing: Sharing,
        place: Option<Box<dyn Place>>,
    ) -> Result<Self, DuplexError> {
        // The number of processes bounds what waits.
        let core = Core::new(
            &settings.name,
            settings.max_line,
            sharing,
            Budget::default(),
        );
        let (child, pipes) = Child::spawn(settings, &core.tasks)?;
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let stop = core.stop.clone();
        if let Some(place) = &place {
            place.started(Handle {
                usage: Arc::clone(&core.usage),
                stop: stop.clone(),
                now: core.now.clone(),
                over: core.over.clone(),
                left: Arc::clone(&core.left),
                pid: child.pid(),
            });
        }
        let Pipes { stdin, stdout } = pipes;
        let read = CancellationToken::new();
        core.tasks
            .spawn(write(stdin, messages, stop.clone(), Arc::clone(&core)));
        core.tasks.spawn(read_all(
            stdout,
            read.clone().drop_guard(),
            Arc::clone(&core),
        ));
        core.tasks
            .spawn(keep(child, read, stop, Arc::clone(&core), place));
        core.tasks.close();
        Ok(Self::new(&core, Pipe::Lines(outbox)))
    }
}

/// Watches over the process to its end, and ends it when it is to end or closes its output.
///
/// `place` is given back when this returns, and by then nothing of the process is left.
async fn keep(
    mut child: Child,
    read: CancellationToken,
    stop: CancellationToken,
    core: Arc<Core>,
    place: Option<Box<dyn Place>>,
) {
    /// Time to read what a process wrote before it ended; a grandchild that holds the pipe open is not waited for.
    const LAST_WORDS: Duration = Duration::from_secs(1);
    let name = core.name.as_str();
    let exited = tokio::select! {
        status = child.ended() => Some(status),
        () = stop.cancelled() => None,
        () = read.cancelled() => {
            // Often the end of the process itself, seen through the pipe first.
            timeout(Duration::from_millis(100), child.ended()).await.ok()
        }
    };
    let error = match exited {
        Some(status) => {
            let left = child.clear(Known::new()).await;
            core.left.store(left, Ordering::Relaxed);
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            tracing::info!(server = name, status, "the server process ended");
            drop(timeout(LAST_WORDS, read.cancelled()).await);
            DuplexError::Exited { status }
        }
        None => {
            let error = if stop.is_cancelled() {
                DuplexError::Closed
            } else {
                DuplexError::Silent
            };
            // Whoever waits learns it now, not after the grace.
            core.end(error.clone());
            stop.cancel();
            let (status, left) = child.terminate(&core.now).await;
            core.left.store(left, Ordering::Relaxed);
            match status {
                Ok(status) => {
                    tracing::info!(server = name, %status, "the server process was ended")
                }
                Err(error) => {
                    tracing::error!(server = name, %error, "the server process could not be waited for")
                }
            }
            error
        }
    };
    stop.cancel();
    core.end(error);
    drop(child);
    drop(place);
    core.over.cancel();
}
