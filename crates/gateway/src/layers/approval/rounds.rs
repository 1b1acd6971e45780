//! Rounds of a call of 2026-07-28: its client makes it again by itself, with a sealed state (`basic/patterns/mrtr`).

use std::time::Duration;

use keepgate_approval::HoldTimes;
use keepgate_call::{Call, CallState};

/// One round of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Round {
    /// Its number, from 1.
    number: u8,
    /// Time the first held round began, in milliseconds of Unix time.
    began_ms: u64,
    /// Whether the client's user does not want to follow the link.
    is_declined: bool,
}

impl Round {
    /// The round of a call at this time, by the state it was made with.
    pub(super) fn of(call: &Call, state: Option<&CallState>, now_ms: u64) -> Self {
        let (number, began_ms) = state.map_or((1, 0), |it| (it.round, it.began_ms));
        let brought = call.wait.state.as_ref();
        Self {
            number,
            began_ms: if began_ms == 0 { now_ms } else { began_ms },
            is_declined: brought.is_some_and(|brought| brought.is_declined),
        }
    }

    /// Whether it is the first.
    pub(super) fn is_first(self) -> bool {
        self.number == 1
    }

    /// Time for which it may be held: none when all are over.
    pub(super) fn time(self, times: &HoldTimes, now_ms: u64) -> Duration {
        let passed = Duration::from_millis(now_ms.saturating_sub(self.began_ms));
        let is_over = self.is_declined || self.number > HoldTimes::MAX_ROUNDS;
        let left = times.total.saturating_sub(passed);
        if is_over {
            return Duration::ZERO;
        }
        times.round.min(left)
    }

    /// The next round, if the client may make one. Its first is not held where the user gets a link, and does not count as time.
    pub(super) fn next(self, times: &HoldTimes, now_ms: u64, was_held: bool) -> Option<(u8, u64)> {
        let number = self.number.checked_add(1)?;
        let next = Self { number, ..self };
        let began_ms = if was_held { self.began_ms } else { 0 };
        let may_go_on = !was_held || !next.time(times, now_ms).is_zero();
        (may_go_on && number <= HoldTimes::MAX_ROUNDS).then_some((number, began_ms))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keepgate_approval::HoldTimes;

    use super::Round;

    fn times(round: u64, total: u64) -> HoldTimes {
        HoldTimes {
            round: Duration::from_secs(round),
            total: Duration::from_secs(total),
            ..HoldTimes::OFF
        }
    }

    /// Rounds a client makes, and how long they are held together, in seconds.
    fn made(times: &HoldTimes) -> (u8, u64) {
        let (mut now_ms, mut number, mut began_ms) = (1_000, 1, 0);
        let started = now_ms;
        loop {
            let round = Round {
                number,
                began_ms: if began_ms == 0 { now_ms } else { began_ms },
                is_declined: false,
            };
            now_ms += u64::try_from(round.time(times, now_ms).as_millis()).expect("milliseconds");
            match round.next(times, now_ms, true) {
                Some(next) => (number, began_ms) = next,
                None => return (number, (now_ms - started) / 1000),
            }
        }
    }

    #[test]
    fn a_client_makes_no_more_rounds_than_it_can() {
        assert_eq!(made(&times(20, 100)), (5, 100));
        assert_eq!(made(&times(50, 100)), (2, 100));
        assert_eq!(made(&times(1, 100)), (8, 8));
        assert_eq!(made(&times(30, 100)), (4, 100));
        assert_eq!(made(&times(20, 10)), (1, 10));
    }

    #[test]
    fn a_round_that_was_declined_is_not_held() {
        let round = Round {
            number: 2,
            began_ms: 1,
            is_declined: true,
        };
        assert!(round.time(&times(20, 100), 1).is_zero());
    }
}
