//! The time for which a certificate is valid (RFC 5280 §4.1.2.5), read out of its DER.
//!
//! The TLS library checks the certificates of others and never looks at the dates of its own, and its parser gives none
//! away. What is read here is five elements deep and of one form, so no parser of X.509 is needed.

use std::time::{Duration, SystemTime};

/// Tags of DER.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub not_before: SystemTime,
    /// Its last moment.
    pub not_after: SystemTime,
}

impl Validity {
    /// The validity of the certificate in `der`. `None` where it cannot be read.
    pub(super) fn of(der: &[u8]) -> Option<Self> {
        let (certificate, _) = take(der, SEQUENCE)?;
        let (tbs, _) = take(certificate, SEQUENCE)?;
        let after_version = take(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
        let (_serial, rest) = take(after_version, INTEGER)?;
        let (_signature, rest) = take(rest, SEQUENCE)?;
        let (_issuer, rest) = take(rest, SEQUENCE)?;
        let (validity, _) = take(rest, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self {
            not_before,
            not_after,
        })
    }
}

/// The content of the first element, which must have this tag, and what follows it.
fn take(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first != tag {
        return None;
    }
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        // As many bytes of length follow; no certificate is longer than four of them can count.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (length, rest)
        }
        0x80 | 0x85.. => return None,
    };
    rest.split_at_checked(length)
}

/// The time at the beginning, and what follows it. RFC 5280 allows two forms, both in UTC and with seconds.
fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (text, rest, century) = match take(bytes, UTC_TIME) {
        // A year of two digits is one from 1950 to 2049.
        Some((text, rest)) => {
            let century: &[u8] = if text.first()? < &b'5' { b"20" } else { b"19" };
            (text, rest, century)
        }
        None => {
            let (text, rest) = take(bytes, GENERALIZED_TIME)?;
            (text, rest, &b""[..])
        }
    };
    let digits: Vec<u8> = century.iter().chain(text).copied().collect();
    let digits: &[u8; 15] = digits.as_slice().try_into().ok()?;
    moment(digits).map(|moment| (moment, rest))
}

/// The moment written `YYYYMMDDHHMMSSZ`; one before 1970 is as early as any.
fn moment(text: &[u8; 15]) -> Option<SystemTime> {
    let [digits @ .., b'Z'] = text else {
        return None;
    };
    let number = |from: usize, length: usize| {
        let digits = digits.get(from..from + length)?;
        digits.iter().try_fold(0_u64, |sum, digit| {
            digit
                .is_ascii_digit()
                .then(|| sum * 10 + u64::from(digit - b'0'))
        })
    };
    let (year, month, day) = (number(0, 4)?, number(4, 2)?, number(6, 2)?);
    let (hour, minute, second) = (number(8, 2)?, number(10, 2)?, number(12, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    let Some(days) = days(year, month, day) else {
        return Some(SystemTime::UNIX_EPOCH);
    };
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar; `None` for one before.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years begin in March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let of_year = (153 * month + 2) / 5 + day - 1;
    (year * 365 + leap_days + of_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::{Validity, moment};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn moments_are_read_as_they_are_written() {
        for (text, seconds) in [
            (b"19700101000000Z", Some(0)),
            (b"20000229235959Z", Some(951_868_799)),
            (b"20261130102635Z", Some(1_796_034_395)),
            (b"99991231235959Z", Some(253_402_300_799)),
            (b"19491231235959Z", Some(0)),
            (b"20261330102635Z", None),
            (b"2026113010263 Z", None),
            (b"202611301026350", None),
        ] {
            assert_eq!(moment(text), seconds.map(at), "{text:?}");
        }
    }

    #[test]
    fn the_validity_of_a_certificate_is_read_in_both_forms_of_time() {
        for (year, from, to) in [
            (2049, 1_577_836_800, 2_493_072_000),
            (2051, 1_577_836_800, 2_556_144_000),
        ] {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(year, 1, 1);
            let key = KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            let validity = Validity::of(certificate.der()).expect("a validity");
            assert_eq!(validity.not_before, at(from));
            assert_eq!(validity.not_after, at(to));
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            Validity::of(&bytes);
        }
    }
}
