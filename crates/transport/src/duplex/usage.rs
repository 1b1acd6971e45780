//! The use of a process, for whoever bounds how many there are: a place is taken before it is started, and an idle one can
//! be ended to make room.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::DuplexError;

/// Set in the count of what runs once the process is to end: nothing enters any more.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Time in which a process that has just started is not idle yet: whoever started it is about to use it.
const STARTING: Duration = Duration::from_secs(5);

/// A place for one process. It is dropped when nothing of the process is left.
pub trait Place: Send + Sync + fmt::Debug {
    /// Reports that the process runs.
    fn started(&self, process: Handle);
}

/// Takes the place of a process before it is started. It may take as long as an idle process needs to end.
pub type Reserve = Arc<dyn Fn() -> Reserving + Send + Sync>;

/// A place that is being taken; [`DuplexError::Full`] when none becomes free.
pub type Reserving = Pin<Box<dyn Future<Output = Result<Box<dyn Place>, DuplexError>> + Send>>;

/// The use of one process.
#[derive(Debug)]
pub(crate) struct Usage {
    began: Instant,
    /// Calls and streams that run, and [`CLOSED`].
    running: AtomicUsize,
    /// When the last of them ended, in milliseconds since it began.
    rested_ms: AtomicU64,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            running: AtomicUsize::new(0),
            rested_ms: AtomicU64::new(0),
        }
    }
}

impl Usage {
    /// Begins a call or a stream; `None` when the process was chosen to end.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Busy> {
        let before = self.running.fetch_add(1, Ordering::AcqRel);
        let busy = Busy(Arc::clone(self));
        (before & CLOSED == 0).then_some(busy)
    }

    /// Whether nothing may begin any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.running.load(Ordering::Acquire) & CLOSED != 0
    }
}

/// A call or a stream of a process: while it lasts the process is not idle.
#[derive(Debug)]
pub struct Busy(Arc<Usage>);

impl Drop for Busy {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Zero is for a process that was never used.
        self.0.rested_ms.store(now.max(1), Ordering::Release);
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A running process, as seen by whoever counts processes.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) usage: Arc<Usage>,
    pub(crate) stop: CancellationToken,
    /// Cancelled when it is to end without being asked to.
    pub(crate) now: CancellationToken,
    /// Cancelled once nothing of it is left.
    pub(crate) over: CancellationToken,
    /// Processes it started that could not be ended.
    pub(crate) left: Arc<AtomicUsize>,
    pub(crate) pid: Option<u32>,
}

impl Handle {
    /// Time since the last call or stream ended, or since the start if there was none; `None` while one runs, and for a
    /// process that nobody had the time to use.
    pub fn idle(&self) -> Option<Duration> {
        if self.usage.running.load(Ordering::Acquire) & !CLOSED != 0 {
            return None;
        }
        let rested = self.usage.rested_ms.load(Ordering::Acquire);
        let age = self.usage.began.elapsed();
        if rested == 0 && age < STARTING {
            return None;
        }
        Some(age.saturating_sub(Duration::from_millis(rested)))
    }

    /// Whether it was chosen to end.
    pub fn is_ending(&self) -> bool {
        self.usage.is_closed()
    }

    /// Time since the start.
    pub fn age(&self) -> Duration {
        self.usage.began.elapsed()
    }

    /// The number of the process, which leads the group of everything it starts.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Begins to kill the process with everything it started, whoever uses it.
    pub fn begin_kill(&self) {
        self.now.cancel();
        self.stop.cancel();
    }

    /// Kills the process with everything it started, whoever uses it, and waits until that is done.
    ///
    /// Returns how many processes could not be ended. Of several that wait one has the number, so that a sum is true.
    pub async fn kill(&self) -> usize {
        self.begin_kill();
        self.over.cancelled().await;
        self.left.swap(0, Ordering::Relaxed)
    }

    /// Ends the process unless it is in use. Whether it ends.
    pub fn end_if_idle(&self) -> bool {
        if self.idle().is_none() {
            return false;
        }
        let chosen =
            self.usage
                .running
                .compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        if chosen.is_ok() {
            self.stop.cancel();
        }
        chosen.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio_util::sync::CancellationToken;

    use super::Handle;

    fn handle() -> Handle {
        Handle {
            usage: Arc::default(),
            stop: CancellationToken::new(),
            now: CancellationToken::new(),
            over: CancellationToken::new(),
            left: Arc::default(),
            pid: None,
        }
    }

    #[test]
    fn a_process_in_use_is_not_ended_and_an_ended_one_not_used() {
        let process = handle();
        assert!(!process.end_if_idle(), "it was about to be used");
        let call = process.usage.enter().unwrap();
        assert!(process.idle().is_none() && !process.end_if_idle());
        drop(call);
        assert!(process.idle().is_some() && process.end_if_idle());
        assert!(process.stop.is_cancelled());
        assert!(process.usage.enter().is_none() && process.usage.is_closed());
        assert!(!process.end_if_idle(), "it was ended once");
    }

    #[test]
    fn of_a_call_and_an_end_that_meet_one_wins() {
        for _ in 0..500 {
            let process = handle();
            drop(process.usage.enter());
            let wins = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    if let Some(call) = process.usage.enter() {
                        wins.fetch_add(1, Ordering::SeqCst);
                        std::mem::forget(call);
                    }
                });
                scope.spawn(|| {
                    if process.end_if_idle() {
                        wins.fetch_add(1, Ordering::SeqCst);
                    }
                });
            });
            assert_eq!(wins.into_inner(), 1);
        }
    }
}
