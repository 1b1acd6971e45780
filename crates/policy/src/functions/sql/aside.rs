//! Parsing off the thread of the caller: with room for what is deep, and not for longer than a caller may wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Stack of the thread.
const STACK: usize = 64 * 1024 * 1024;
/// How long a caller waits. What honest texts need is milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Most threads that nobody waits for any more. A thread cannot be ended from outside.
const MAX_STUCK: usize = 4;

static STUCK: AtomicUsize = AtomicUsize::new(0);

/// Does `work` on a thread of its own and waits for it up to `patience`.
///
/// # Errors
/// That of the work, and when it failed, came late or was not begun because too much earlier work is still going on.
pub(super) fn aside<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    if STUCK.load(Ordering::SeqCst) >= MAX_STUCK {
        return Err("too many earlier texts are still being read".to_owned());
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let left = Arc::new(AtomicBool::new(false));
    let running = Running(Arc::clone(&left));
    std::thread::Builder::new()
        .name("sql-parse".into())
        .stack_size(STACK)
        .spawn(move || {
            let _running = running;
            // Nobody listens any more when it is late.
            drop(sender.send(work()));
        })
        .map_err(|_| "no thread to parse in")?;
    match receiver.recv_timeout(patience) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            STUCK.fetch_add(1, Ordering::SeqCst);
            if left.swap(true, Ordering::SeqCst) {
                STUCK.fetch_sub(1, Ordering::SeqCst); // it ended meanwhile
            }
            Err(format!("not read within {patience:?}"))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Err("the parser failed".to_owned()),
    }
}

/// Says when the thread ends, however it ends: whoever comes second, it or the one who waited, counts it out.
struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.swap(true, Ordering::SeqCst) {
            STUCK.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Late work is refused, more of it is not begun, and once it has ended there is room again.
    #[test]
    fn nobody_waits_for_what_is_late() {
        let (open, gate) = mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        for _ in 0..MAX_STUCK {
            let gate = Arc::clone(&gate);
            let work = move || {
                drop(gate.lock().map(|gate| gate.recv()));
                Ok(())
            };
            let late = aside(Duration::from_millis(1), work).unwrap_err();
            assert!(late.starts_with("not read within"), "{late}");
        }
        let refused = aside(PATIENCE, || Ok(())).unwrap_err();
        assert!(refused.starts_with("too many"), "{refused}");
        drop(open);
        let started = Instant::now();
        while aside(PATIENCE, || Ok(())).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
        let broken = aside(PATIENCE, || -> Result<(), String> { panic!("on purpose") });
        assert_eq!(broken.unwrap_err(), "the parser failed");
    }
}
