//! Times on pages: relative to now, with the moment in the element.

use std::time::SystemTime;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Words for a time that cannot be read.
const UNKNOWN: &str = "unknown";

/// Seconds from `now` until a time (RFC 3339); negative for one that is over.
fn until(text: &str, now: SystemTime) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some((time - OffsetDateTime::from(now)).whole_seconds())
}

/// The time as it is written, if it is one.
pub(crate) fn moment(text: &str) -> String {
    let is_time = OffsetDateTime::parse(text, &Rfc3339).is_ok();
    if is_time { text } else { UNKNOWN }.to_owned()
}

/// Time that is left, as the script counts it down.
pub(crate) fn left(text: &str, now: SystemTime) -> String {
    match until(text, now) {
        None => UNKNOWN.to_owned(),
        Some(seconds) if seconds <= 0 => "time is over".to_owned(),
        Some(seconds) if seconds < 60 => format!("{seconds} s left"),
        Some(seconds) if seconds < 3600 => format!("{} min left", seconds / 60),
        Some(seconds) => format!("{} h {} min left", seconds / 3600, seconds / 60 % 60),
    }
}

/// Time since.
pub(crate) fn ago(text: &str, now: SystemTime) -> String {
    match until(text, now) {
        None => UNKNOWN.to_owned(),
        Some(seconds) if seconds > -60 => "just now".to_owned(),
        Some(seconds) => format!("{} ago", length(seconds.unsigned_abs())),
    }
}

/// A length of time, in its two largest units: what is left out is less than the smaller of them.
pub(crate) fn length(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let (large, small) = match seconds {
        0..MINUTE => return format!("{seconds} s"),
        MINUTE..HOUR => ((MINUTE, "min"), (1, "s")),
        HOUR..DAY => ((HOUR, "h"), (MINUTE, "min")),
        DAY.. => ((DAY, "d"), (HOUR, "h")),
    };
    let (count, left) = (seconds / large.0, seconds % large.0 / small.0);
    match left {
        0 => format!("{count} {}", large.1),
        _ => format!("{count} {} {left} {}", large.1, small.1),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_shown_from_now_and_lengths_to_their_smaller_unit() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let at = |seconds: i64| {
            let time = OffsetDateTime::from(now) + time::Duration::seconds(seconds);
            time.format(&Rfc3339).unwrap()
        };
        for (seconds, expected) in [
            (0, "time is over"),
            (-5, "time is over"),
            (59, "59 s left"),
            (900, "15 min left"),
            (3_700, "1 h 1 min left"),
        ] {
            assert_eq!(left(&at(seconds), now), expected);
        }
        for (seconds, expected) in [
            (5, "just now"),
            (-59, "just now"),
            (-120, "2 min ago"),
            (-7_300, "2 h 1 min ago"),
            (-90_000, "1 d 1 h ago"),
        ] {
            assert_eq!(ago(&at(seconds), now), expected);
        }
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (119, "1 min 59 s"),
            (3_600, "1 h"),
            (119 * 60, "1 h 59 min"),
            (7_199, "1 h 59 min"),
            (47 * 3_600, "1 d 23 h"),
        ] {
            assert_eq!(length(seconds), expected);
        }
        for bad in ["", "<x>", "\u{202e}"] {
            assert_eq!([left(bad, now), ago(bad, now), moment(bad)], [UNKNOWN; 3]);
        }
        assert_eq!(moment(&at(0)), at(0));
    }
}
