//! The windows in which an approval may be used: `{"kind": "window", "not_before": .., "until": .., "timezone": ..}`.
//!
//! A window is two instants, or two times of the day in a time zone: then the one that is open, else the next. Where a clock is set
//! forward or back, the shorter reading counts.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// Farthest end of a window, in seconds from now: 30 days.
pub(crate) const MAX_AHEAD_S: u64 = 30 * 24 * 60 * 60;

/// A time in which an approval may be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// Between two instants, in seconds of Unix time.
    Fixed {
        /// The first second.
        not_before_s: u64,
        /// The first second after it.
        until_s: u64,
    },
    /// Each day between two times of it; the later one may be of the next day.
    Daily {
        /// The first minute of it, as in `22:00`.
        not_before: Arc<str>,
        /// The first minute after it.
        until: Arc<str>,
        /// The time zone (IANA).
        zone: Arc<str>,
    },
}

impl Window {
    /// The window an author names, or what is wrong with it.
    pub(crate) fn parse(
        not_before: Option<&Arc<str>>,
        until: &Arc<str>,
        zone: Option<&Arc<str>>,
    ) -> Result<Self, &'static str> {
        let zone_of = |zone: &Arc<str>| {
            zone.parse::<Tz>()
                .map_err(|_| "`timezone` is no IANA time zone")
        };
        if let (Some(not_before), Some(zone)) = (not_before, zone)
            && let (Some(from), Some(to)) = (time_of_day(not_before), time_of_day(until))
        {
            zone_of(zone)?;
            if from == to {
                return Err("`not_before` and `until` are the same");
            }
            return Ok(Self::Daily {
                not_before: Arc::clone(not_before),
                until: Arc::clone(until),
                zone: Arc::clone(zone),
            });
        }
        let zone = zone.map(zone_of).transpose()?;
        let from = not_before.map(|text| instant(text, zone, Edge::Begin));
        let not_before_s = from.transpose()?.unwrap_or_default();
        let until_s = instant(until, zone, Edge::End)?;
        if until_s <= not_before_s {
            return Err("`until` is not after `not_before`");
        }
        Ok(Self::Fixed {
            not_before_s,
            until_s,
        })
    }

    /// The window that is open at `now_s`, else the next, in seconds of Unix time.
    fn span(&self, now_s: u64) -> Option<(u64, u64)> {
        let (not_before, until, zone) = match self {
            Self::Fixed {
                not_before_s,
                until_s,
            } => return (*until_s > now_s).then_some((*not_before_s, *until_s)),
            Self::Daily {
                not_before,
                until,
                zone,
            } => (time_of_day(not_before)?, time_of_day(until)?, zone),
        };
        let zone: Tz = zone.parse().ok()?;
        let now = Utc.timestamp_opt(i64::try_from(now_s).ok()?, 0).single()?;
        let today = now.with_timezone(&zone).date_naive();
        let last = if until <= not_before { 1 } else { 0 };
        let day = |ahead: u64| -> Option<(u64, u64)> {
            let date: NaiveDate = today.pred_opt()?.checked_add_days(Days::new(ahead))?;
            let end = date.checked_add_days(Days::new(last))?;
            let from = seconds(date.and_time(not_before), zone, Edge::Begin)?;
            Some((from, seconds(end.and_time(until), zone, Edge::End)?))
        };
        // Yesterday's may still be open; tomorrow's comes after today's.
        let mut days = (0..4).filter_map(day);
        days.find(|(from, to)| from < to && *to > now_s)
    }

    /// The time in which all of these are open, from the next one on; none when there is none within 30 days.
    pub(crate) fn meet(windows: &[Self], now_s: u64) -> Option<(u64, u64)> {
        let mut joined = (0, u64::MAX);
        for window in windows {
            let (from, to) = window.span(now_s)?;
            joined = (joined.0.max(from), joined.1.min(to));
        }
        let is_near = joined.1 <= now_s.saturating_add(MAX_AHEAD_S);
        (joined.0 < joined.1 && is_near).then_some(joined)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |seconds: u64| {
            let time = i64::try_from(seconds).ok();
            let time = time.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            time.map_or_else(String::new, |time| {
                time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
            })
        };
        match self {
            Self::Fixed {
                not_before_s: 0,
                until_s,
            } => write!(f, "until {}", text(*until_s)),
            Self::Fixed {
                not_before_s,
                until_s,
            } => write!(f, "{} to {}", text(*not_before_s), text(*until_s)),
            Self::Daily {
                not_before,
                until,
                zone,
            } => write!(f, "{not_before} to {until} {zone}"),
        }
    }
}

/// An edge of a window.
#[derive(Debug, Clone, Copy)]
enum Edge {
    Begin,
    End,
}

/// `22:00`, and nothing that is longer or shorter.
fn time_of_day(text: &str) -> Option<NaiveTime> {
    let is_minute = text.len() == 5;
    NaiveTime::parse_from_str(text, "%H:%M")
        .ok()
        .filter(|_| is_minute)
}

/// The instant of RFC 3339, or of a date and time in a time zone, in seconds of Unix time.
fn instant(text: &str, zone: Option<Tz>, edge: Edge) -> Result<u64, &'static str> {
    let wrong = "a time of a window is neither RFC 3339, nor like `2026-12-01T22:00` or `22:00` with a `timezone`";
    let Some(zone) = zone else {
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| wrong)?;
        return u64::try_from(time.timestamp()).map_err(|_| wrong);
    };
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").map_err(|_| wrong)?;
    seconds(local, zone, edge).ok_or(wrong)
}

/// The instant of a local time. One that comes twice, or never, is read so that the window is the shorter one.
fn seconds(local: NaiveDateTime, zone: Tz, edge: Edge) -> Option<u64> {
    use chrono::LocalResult::{Ambiguous, None as Never, Single};
    let time = match (zone.from_local_datetime(&local), edge) {
        (Single(time), _) => time,
        (Ambiguous(_, later), Edge::Begin) => later,
        (Ambiguous(earlier, _), Edge::End) => earlier,
        (Never, Edge::Begin) => after_gap(local, zone, TimeDelta::minutes(15))?,
        (Never, Edge::End) => after_gap(local, zone, TimeDelta::minutes(-15))?,
    };
    u64::try_from(time.timestamp()).ok()
}

/// The next local time that there is, in steps of a quarter of an hour: clocks are set by no less.
fn after_gap(local: NaiveDateTime, zone: Tz, step: TimeDelta) -> Option<DateTime<Tz>> {
    let mut next = local;
    for _ in 0..200 {
        next = next.checked_add_signed(step)?;
        if let Some(time) = zone.from_local_datetime(&next).latest() {
            return Some(time);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Window;

    fn window(not_before: &str, until: &str, zone: &str) -> Result<Window, &'static str> {
        let some = |text: &str| (!text.is_empty()).then(|| text.into());
        Window::parse(
            some(not_before).as_ref(),
            &until.into(),
            some(zone).as_ref(),
        )
    }

    fn at(text: &str) -> u64 {
        let time = chrono::DateTime::parse_from_rfc3339(text).expect("a time");
        u64::try_from(time.timestamp()).expect("after 1970")
    }

    #[test]
    fn a_window_is_the_one_that_is_open_or_the_next() {
        let night = window("22:00", "02:00", "Europe/Berlin").expect("a window");
        let day = window("09:00", "17:00", "America/New_York").expect("a window");
        let cases = [
            (
                &night,
                "2026-12-01T14:00:00Z",
                "2026-12-01T21:00:00Z",
                "2026-12-02T01:00:00Z",
            ),
            (
                &night,
                "2026-12-01T21:00:00Z",
                "2026-12-01T21:00:00Z",
                "2026-12-02T01:00:00Z",
            ),
            (
                &night,
                "2026-12-02T00:59:59Z",
                "2026-12-01T21:00:00Z",
                "2026-12-02T01:00:00Z",
            ),
            (
                &night,
                "2026-12-02T01:00:00Z",
                "2026-12-02T21:00:00Z",
                "2026-12-03T01:00:00Z",
            ),
            // Another offset in summer.
            (
                &night,
                "2026-07-01T12:00:00Z",
                "2026-07-01T20:00:00Z",
                "2026-07-02T00:00:00Z",
            ),
            (
                &day,
                "2026-12-01T12:00:00Z",
                "2026-12-01T14:00:00Z",
                "2026-12-01T22:00:00Z",
            ),
        ];
        for (window, now, from, to) in cases {
            assert_eq!(
                window.span(at(now)),
                Some((at(from), at(to))),
                "{window} {now}"
            );
        }
    }

    #[test]
    fn clocks_that_are_set_forward_or_back_make_a_window_shorter() {
        // 02:30 comes twice on 2026-10-25, and never on 2026-03-29: the shorter reading counts.
        let begin = window("2026-10-25T02:30", "2026-10-25T04:00", "Europe/Berlin");
        let begin = begin.expect("a window").span(0);
        assert_eq!(
            begin,
            Some((at("2026-10-25T01:30:00Z"), at("2026-10-25T03:00:00Z")))
        );
        let gap = window("2026-03-29T02:30", "2026-03-29T04:00", "Europe/Berlin");
        let gap = gap.expect("a window").span(0);
        assert_eq!(
            gap,
            Some((at("2026-03-29T01:00:00Z"), at("2026-03-29T02:00:00Z")))
        );
        let fixed = window("", "2026-12-01T22:00:00+01:00", "").expect("a window");
        assert_eq!(fixed.span(5), Some((0, at("2026-12-01T21:00:00Z"))));
        assert_eq!(fixed.span(at("2026-12-01T21:00:00Z")), None);
    }

    #[test]
    fn a_window_that_cannot_be_read_in_one_way_is_none() {
        for (not_before, until, zone) in [
            ("22:00", "02:00", ""),
            ("22:00", "22:00", "Europe/Berlin"),
            ("22:00", "02:00", "Europe/Brlin"),
            ("22:00", "2026-12-01T22:00", "Europe/Berlin"),
            ("", "02:00", "Europe/Berlin"),
            ("9:00", "12:00", "Europe/Berlin"),
            ("24:00", "12:00", "Europe/Berlin"),
            ("", "2026-12-01T22:00", ""),
            ("", "2026-12-01T22:00:00Z", "Europe/Berlin"),
            ("2026-12-01T22:00:00Z", "2026-12-01T22:00:00Z", ""),
            ("", "1969-12-01T22:00:00Z", ""),
        ] {
            assert!(
                window(not_before, until, zone).is_err(),
                "{not_before} {until} {zone}"
            );
        }
    }

    proptest! {
        #[test]
        fn windows_that_meet_are_in_each_of_them(
            now in 1_700_000_000_u64..1_900_000_000,
            times in proptest::collection::vec((0..24_u32, 0..24_u32, 0..3_usize), 1..4),
        ) {
            let zones = ["Europe/Berlin", "America/New_York", "Asia/Kolkata"];
            let windows: Vec<Window> = times
                .iter()
                .filter_map(|(from, to, zone)| {
                    window(&format!("{from:02}:30"), &format!("{to:02}:00"), zones[*zone]).ok()
                })
                .collect();
            if let Some((from, to)) = Window::meet(&windows, now) {
                prop_assert!(from < to && to > now);
                for window in &windows {
                    let (begin, end) = window.span(now).expect("one of them");
                    prop_assert!(from >= begin && to <= end, "{window}");
                    prop_assert!(end - begin <= 25 * 3600);
                }
            }
        }
    }
}
