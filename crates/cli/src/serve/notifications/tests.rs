//! Attempts and pauses.

use std::time::Duration;

use super::{MAX_AGE, MAX_ATTEMPTS, Undelivered, is_last, pause_after};

const SOON: Duration = Duration::from_secs(1);

fn status(status: u16) -> Undelivered {
    Undelivered::Status(status, None)
}

#[test]
fn attempts_are_bounded_in_number_and_time() {
    for (reason, attempts, age, last) in [
        (status(500), 1, SOON, false),
        (status(500), MAX_ATTEMPTS, SOON, true),
        (status(500), 1, MAX_AGE, true),
        (status(429), 1, SOON, false),
        // The address or the secret may be put right.
        (status(404), 1, SOON, false),
        (status(401), 1, SOON, false),
        (status(302), 1, SOON, false),
        // This message is not wanted, ever.
        (status(400), 1, SOON, true),
        (status(413), 1, SOON, true),
        (Undelivered::Unreached("refused".into()), 1, SOON, false),
    ] {
        assert_eq!(is_last(&reason, attempts, age), last, "{reason} {attempts}");
    }
}

#[test]
fn pauses_grow_to_a_minute_and_are_no_shorter_than_asked() {
    let pauses = [0, 1, 2, 5, 6, 31, 32, u32::MAX].map(|streak| pause_after(streak, None));
    assert_eq!(
        pauses.map(|pause| pause.as_secs()),
        [1, 2, 4, 32, 60, 60, 60, 60]
    );
    let asked = |streak, seconds| pause_after(streak, Some(Duration::from_secs(seconds))).as_secs();
    assert_eq!([asked(0, 30), asked(9, 30)], [30, 60]);
}
