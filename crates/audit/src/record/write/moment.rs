//! When a record was made: its timestamp, and its id, which begins with it.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use super::{milliseconds, text::hex};

/// Length of a timestamp, `2026-11-20T06:48:12.000000Z`.
pub(crate) const TIMESTAMP: usize = 27;

/// RFC 3339 in UTC with six digits of a second. Times outside the years 1970 to 9999 become the nearest within.
pub(super) fn timestamp_text(at: SystemTime, text: &mut [u8; TIMESTAMP]) -> &str {
    const LAST: i64 = 253_402_300_799;
    let (seconds, micros) = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (
            i64::try_from(since.as_secs()).unwrap_or(LAST).min(LAST),
            since.subsec_micros(),
        ),
        Err(_before) => (0, 0),
    };
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second) = moment.to_hms();
    let parts = [
        (u32::try_from(year).unwrap_or_default(), 4, b'-'),
        (u32::from(u8::from(month)), 2, b'-'),
        (u32::from(day), 2, b'T'),
        (u32::from(hour), 2, b':'),
        (u32::from(minute), 2, b':'),
        (u32::from(second), 2, b'.'),
        (micros, 6, b'Z'),
    ];
    let mut rest = text.as_mut_slice();
    for (mut value, width, end) in parts {
        let (number, after) = std::mem::take(&mut rest).split_at_mut(width);
        for digit in number.iter_mut().rev() {
            *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
            value /= 10;
        }
        if let Some((mark, after)) = after.split_first_mut() {
            *mark = end;
            rest = after;
        }
    }
    std::str::from_utf8(text).unwrap_or_default()
}

/// Seconds of the Unix epoch at a timestamp; `None` if it is none.
pub(crate) fn seconds(timestamp: &str) -> Option<i64> {
    let number = |from: usize, to: usize| timestamp.get(from..to)?.parse::<u16>().ok();
    let small = |from, to| number(from, to).and_then(|number| u8::try_from(number).ok());
    let month = time::Month::try_from(small(5, 7)?).ok()?;
    let date = time::Date::from_calendar_date(i32::from(number(0, 4)?), month, small(8, 10)?);
    let time = time::Time::from_hms(small(11, 13)?, small(14, 16)?, small(17, 19)?);
    Some(OffsetDateTime::new_utc(date.ok()?, time.ok()?).unix_timestamp())
}

/// Length of an event id, a UUID in text.
pub(crate) const EVENT_ID: usize = 36;

/// A UUIDv7 (RFC 9562 §5.7): milliseconds, then 12 bits of finer time, then 62 bits of `random`.
pub(super) fn event_id_text(at: SystemTime, random: u64, text: &mut [u8; EVENT_ID]) -> &str {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let millis = milliseconds(since) & 0xffff_ffff_ffff;
    let fine = u64::from(since.subsec_nanos() % 1_000_000) * 4096 / 1_000_000;
    let high = (millis << 16) | 0x7000 | fine;
    let low = (random >> 2) | (1 << 63);
    let bytes = ((u128::from(high) << 64) | u128::from(low)).to_be_bytes();
    let mut bytes = bytes.iter();
    let mut place = text.iter_mut();
    for group in [4, 2, 2, 2, 6] {
        for &byte in bytes.by_ref().take(group) {
            for (slot, digit) in place.by_ref().take(2).zip(hex(byte)) {
                *slot = digit;
            }
        }
        if let Some(slot) = place.next() {
            *slot = b'-';
        }
    }
    std::str::from_utf8(text).unwrap_or_default()
}
