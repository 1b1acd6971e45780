//! Inspection of large messages: on threads for work that blocks, a bounded number at a time.
//!
//! Masking and redaction are linear, but eight megabytes of it on a worker of the runtime are felt by everybody whose turn is
//! next there; two workers are all that some machines have. Small messages, nearly all, are inspected where they are.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use keepgate_call::{Code, Refusal};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::task::TaskTracker;

/// Messages up to so many bytes are inspected where they are.
pub(crate) const INLINE: usize = 64 * 1024;
/// Maximum time that a message waits for its turn.
const WAIT: Duration = Duration::from_secs(10);
/// So many messages wait at most, each of them held in memory.
const WAITING: usize = 64;

/// The places for large messages.
#[derive(Debug)]
pub struct Inspection {
    running: Arc<Semaphore>,
    waiting: Semaphore,
    wait: Duration,
    tasks: TaskTracker,
}

impl Inspection {
    /// Places for half of the processors, at least one: the other half is for everybody else.
    pub(crate) fn new(tasks: &TaskTracker) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            running: Arc::new(Semaphore::new(cores.div_ceil(2))),
            waiting: Semaphore::new(WAITING),
            wait: WAIT,
            tasks: tasks.clone(),
        }
    }

    /// Whether a message of so many bytes has to leave the runtime.
    pub(crate) fn is_large(bytes: usize) -> bool {
        bytes > INLINE
    }

    /// Whether a message of so many bytes is decoded elsewhere: reading is cheaper than inspecting.
    pub(crate) fn is_long_to_read(bytes: usize) -> bool {
        bytes > 4 * INLINE
    }

    /// Does `work` on a thread of its own. It ends what it began, whoever waits for it.
    ///
    /// # Errors
    /// `inspection_overloaded` when too many wait, or for too long.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = self.turn().await?;
        let done = self.tasks.spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await
            .map_err(|error| Refusal::new(Code::Internal).source(error))
    }

    /// Does `work` on `bytes` bytes where it is called, which has to be a task: for what cannot wait as a future. If they are
    /// many, the other tasks of this worker go on elsewhere in the meantime.
    ///
    /// # Errors
    /// `inspection_overloaded` when too many wait, or for too long.
    pub(crate) fn here<T>(&self, bytes: usize, work: impl FnOnce() -> T) -> Result<T, Refusal> {
        let runtime = Handle::try_current().ok().filter(|runtime| {
            // There is no elsewhere in a runtime of one thread.
            Self::is_large(bytes) && runtime.runtime_flavor() == RuntimeFlavor::MultiThread
        });
        let Some(runtime) = runtime else {
            return Ok(work());
        };
        tokio::task::block_in_place(|| {
            let turn = runtime.block_on(self.turn())?;
            let done = work();
            drop(turn);
            Ok(done)
        })
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let full = |detail: String| Refusal::new(Code::InspectionOverloaded).detail(detail);
        let place = self
            .waiting
            .try_acquire()
            .map_err(|_| full(format!("{WAITING} large answers wait already")))?;
        let turn = Arc::clone(&self.running).acquire_owned();
        let turn = tokio::time::timeout(self.wait, turn)
            .await
            .map_err(|_elapsed| full(format!("no turn within {} s", self.wait.as_secs())))?
            .map_err(|closed| Refusal::new(Code::Internal).source(closed))?;
        drop(place);
        Ok(turn)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use keepgate_call::Code;
    use tokio_util::task::TaskTracker;

    use super::{INLINE, Inspection, WAITING};

    #[tokio::test]
    async fn what_finds_no_turn_is_refused_by_name() {
        let mut inspection = Inspection::new(&TaskTracker::new());
        inspection.wait = std::time::Duration::from_secs(1);
        let inspection = std::sync::Arc::new(inspection);
        let turns = inspection.running.available_permits();
        let held = inspection.running.acquire_many(turns as u32).await.unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..WAITING {
            let inspection = std::sync::Arc::clone(&inspection);
            waiting.spawn(async move { inspection.run(|| ()).await });
        }
        while inspection.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = inspection.run(|| ()).await.unwrap_err();
        assert_eq!(refused.code, Code::InspectionOverloaded);
        // And those who wait do not wait for ever.
        while let Some(waited) = waiting.join_next().await {
            let refused = waited.unwrap().unwrap_err();
            assert_eq!(refused.code, Code::InspectionOverloaded);
        }
        drop(held);
        assert_eq!(inspection.run(|| 7).await.unwrap(), 7);
        assert_eq!(inspection.waiting.available_permits(), WAITING);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_keeps_its_turn_to_its_end() {
        let inspection = Inspection::new(&TaskTracker::new());
        let turns = inspection.running.available_permits();
        let (go, wait) = mpsc::channel::<()>();
        let work = inspection.run(move || wait.recv());
        let left = tokio::time::timeout(std::time::Duration::from_millis(20), work).await;
        assert!(left.is_err());
        assert_eq!(inspection.running.available_permits(), turns - 1);
        go.send(()).unwrap();
        while inspection.running.available_permits() < turns {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn large_work_leaves_the_worker_to_others_and_small_work_does_not() {
        let inspection = std::sync::Arc::new(Inspection::new(&TaskTracker::new()));
        let worker = || std::thread::current().id();
        let task = tokio::spawn(async move {
            let here = worker();
            assert_eq!(inspection.here(INLINE, worker).unwrap(), here);
            assert_ne!(inspection.run(worker).await.unwrap(), here);
            // The only worker is free for another task while this one is busy.
            let (said, heard) = mpsc::channel();
            tokio::spawn(async move { said.send(()) });
            inspection
                .here(INLINE + 1, || heard.recv())
                .unwrap()
                .unwrap();
        });
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_large_work_itself() {
        let inspection = Inspection::new(&TaskTracker::new());
        let here = std::thread::current().id();
        let there = inspection.here(INLINE + 1, || std::thread::current().id());
        assert_eq!(there.unwrap(), here);
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_turn_back() {
        let inspection = Inspection::new(&TaskTracker::new());
        let turns = inspection.running.available_permits();
        let refused = inspection.run(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(refused.code, Code::Internal);
        assert_eq!(inspection.running.available_permits(), turns);
    }
}
