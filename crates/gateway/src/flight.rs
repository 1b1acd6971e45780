//! Work that many calls wait for and one does. Who waits shares what comes of it, a failure too: behind a server that does not
//! answer, calls would otherwise try one after the other, each for as long as a try may take.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

/// One at a time does the work.
#[derive(Debug)]
pub struct Flight<E> {
    turn: tokio::sync::Mutex<()>,
    failed: Mutex<Option<(Instant, E)>>,
}

impl<E> Default for Flight<E> {
    fn default() -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        }
    }
}

impl<E: Clone> Flight<E> {
    /// Returns what `found` finds once nobody else is at work, the failure of whoever was meanwhile, or what `work` returns. Work
    /// that is given up, since its call was, is done by the next one who waits.
    ///
    /// # Errors
    /// That of `work`, or of the work that was waited for.
    pub async fn run<T>(
        &self,
        found: impl Fn() -> Option<T>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let came = Instant::now();
        let _turn = self.turn.lock().await;
        if let Some(found) = found() {
            return Ok(found);
        }
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, error)) = failed().as_ref().filter(|(ended, _)| *ended >= came) {
            return Err(error.clone());
        }
        let done = work.await;
        *failed() = done
            .as_ref()
            .err()
            .map(|error| (Instant::now(), error.clone()));
        done
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::future::join_all;
    use tokio::time::{Instant, sleep};

    use super::Flight;

    #[tokio::test(start_paused = true)]
    async fn who_waits_shares_a_failure_and_who_comes_later_tries_again() {
        let (flight, tries) = (Flight::default(), AtomicUsize::new(0));
        let one = || {
            flight.run(|| None::<u8>, async {
                let number = tries.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(5)).await;
                Err(number)
            })
        };
        let began = Instant::now();
        let all = join_all((0..40).map(|_| one())).await;
        assert!(all.iter().all(|result| *result == Err(0)), "{all:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(one().await, Err(1));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_given_up_is_done_by_the_next_one() {
        let flight = Flight::<u8>::default();
        let slow = flight.run(|| None, async {
            sleep(Duration::from_secs(5)).await;
            Ok(1)
        });
        let given_up = tokio::time::timeout(Duration::from_secs(1), slow);
        let next = flight.run(|| None, async { Ok(2) });
        let (given_up, next) = tokio::join!(given_up, next);
        assert!(given_up.is_err());
        assert_eq!(next, Ok(2));
        assert_eq!(flight.run(|| Some(3), async { Err(4) }).await, Ok(3));
    }
}
