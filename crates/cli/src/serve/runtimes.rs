//! The runtimes of a process: one for the data, one for operators, each on threads of its own.
//!
//! The data runtime does all that clients and servers cause. The operators' listener, the kill switch and what makes
//! kills last run on a thread that no data reaches: tasks that keep every data worker delay calls and no operator. The
//! main thread has a third, for signals, files that change and reloads, since these may wait for a disk.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::context::TokioContext;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::failure::Failure;

/// The runtimes of other threads than the main one.
pub(super) struct Runtimes {
    data: Runtime,
    operators: Handle,
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

impl Runtimes {
    /// Starts both.
    pub(super) fn start() -> Result<Self, Failure> {
        let data = Builder::new_multi_thread()
            .worker_threads(workers())
            .enable_all()
            .thread_name("keepgate")
            .build()
            .map_err(|error| failed(&error))?;
        let runtime = control()?;
        let operators = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("keepgate-admin".to_owned())
            .spawn(move || {
                runtime.block_on(stopped.cancelled());
                // A disk that hangs under a record must not hold up the end of the process.
                runtime.shutdown_timeout(Duration::from_secs(1));
            })
            .map_err(|error| failed(&error))?;
        Ok(Self {
            data,
            operators,
            stop,
            thread,
        })
    }

    /// The data runtime.
    pub(super) fn data(&self) -> &Handle {
        self.data.handle()
    }

    /// The operators' runtime.
    pub(super) fn operators(&self) -> &Handle {
        &self.operators
    }

    /// Polls `future` here, while what it spawns and waits for belongs to the data runtime.
    pub(super) async fn within_data<F: Future>(&self, future: F) -> F::Output {
        TokioContext::new(future, self.data().clone()).await
    }

    /// Polls `future` here, while what it spawns and waits for belongs to the operators' runtime.
    pub(super) async fn within_operators<F: Future>(&self, future: F) -> F::Output {
        TokioContext::new(future, self.operators.clone()).await
    }

    /// Ends both, with what a second signal left running.
    pub(super) fn end(self) {
        self.stop.cancel();
        self.data.shutdown_timeout(Duration::from_secs(1));
        if self.thread.join().is_err() {
            tracing::error!("the operators' thread has panicked");
        }
    }
}

/// A runtime on the thread that enters it.
pub(super) fn control() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .thread_name("keepgate-wait")
        .build()
        .map_err(|error| failed(&error))
}

/// One a core, and never fewer than two: a call may have to write the audit log itself, and a disk that hangs then holds its
/// thread. The other goes on meanwhile.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Start, format!("failed to start a runtime: {error}"))
}

#[cfg(test)]
mod tests;
