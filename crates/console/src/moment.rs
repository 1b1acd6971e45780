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

/// A length of time, in its largest unit.
pub(crate) fn length(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        86400.. => format!("{} d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_told_from_now() {
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
            (-7_300, "2 h ago"),
            (-90_000, "1 d ago"),
        ] {
            assert_eq!(ago(&at(seconds), now), expected);
        }
        for bad in ["", "<x>", "\u{202e}"] {
            assert_eq!([left(bad, now), ago(bad, now), moment(bad)], [UNKNOWN; 3]);
        }
        assert_eq!(moment(&at(0)), at(0));
    }
}
