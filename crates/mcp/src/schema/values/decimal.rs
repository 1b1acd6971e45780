//! Numbers as they are written, compared exactly: to a double 2^53 and the next integer are one.

use std::cmp::Ordering;

use crate::json::{Kind, Raw};

/// A number: ± 0.DIGITS × 10^point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    is_negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: Box<str>,
    /// Digits before the decimal point.
    point: i64,
}

impl Decimal {
    /// The number a value is; none for other kinds.
    pub(super) fn of(value: Raw<'_>) -> Option<Self> {
        if value.kind() != Kind::Number {
            return None;
        }
        let text = value.as_str();
        let (is_negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_start_matches('0');
        let leading = all.len() - digits.len();
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self {
                is_negative: false,
                digits: Box::default(),
                point: 0,
            });
        }
        let exponent = exponent.strip_prefix('+').unwrap_or(exponent);
        // An exponent beyond 64 bits is beyond every bound there is; only its direction counts.
        let exponent = exponent.parse::<i64>().unwrap_or_else(|_| {
            if exponent.starts_with('-') {
                i64::MIN / 2
            } else {
                i64::MAX / 2
            }
        });
        let before = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
        Some(Self {
            is_negative,
            digits: digits.into(),
            point: exponent.saturating_add(before),
        })
    }

    pub(super) fn is_integer(&self) -> bool {
        i64::try_from(self.digits.len()).is_ok_and(|digits| digits <= self.point)
            || self.digits.is_empty()
    }

    pub(super) fn is_positive(&self) -> bool {
        !self.is_negative && !self.digits.is_empty()
    }

    /// The number as an integer from zero on, if it is one.
    pub(super) fn count(&self) -> Option<u64> {
        if self.is_negative || !self.is_integer() {
            return None;
        }
        let zeros = self.exponent().unsigned_abs();
        let digits: u64 = if self.digits.is_empty() {
            return Some(0);
        } else {
            self.digits.parse().ok()?
        };
        digits.checked_mul(10_u64.checked_pow(u32::try_from(zeros).ok()?)?)
    }

    /// The power of ten of its last digit.
    fn exponent(&self) -> i64 {
        let digits = i64::try_from(self.digits.len()).unwrap_or(i64::MAX);
        self.point.saturating_sub(digits)
    }

    /// Whether it is a multiple of `unit`; none where its digits are too many.
    pub(super) fn is_multiple(&self, unit: &Self) -> Option<bool> {
        if self.digits.is_empty() {
            return Some(true);
        }
        // Neither ends in a zero, so a value of a smaller last place is no multiple.
        let shift = self.exponent().saturating_sub(unit.exponent());
        let Ok(shift) = u64::try_from(shift) else {
            return Some(false);
        };
        let divisor = u128::from(unit.digits.parse::<u64>().ok()?);
        let own = self.digits.bytes();
        let own = own.fold(0, |sum, digit| {
            (sum * 10 + u128::from(digit - b'0')) % divisor
        });
        Some((own * power_of_ten(shift, divisor)).is_multiple_of(divisor))
    }

    /// One spelling for each number.
    pub(super) fn form(&self) -> String {
        let sign = if self.is_negative { "-" } else { "" };
        format!("{sign}{}@{}", self.digits, self.point)
    }
}

/// 10^exponent modulo a number below 2^64, by squaring.
fn power_of_ten(mut exponent: u64, modulus: u128) -> u128 {
    let (mut result, mut base) = (1 % modulus, 10 % modulus);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % modulus;
        }
        base = base * base % modulus;
        exponent >>= 1;
    }
    result
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let size = || {
            self.point
                .cmp(&other.point)
                .then(self.digits.cmp(&other.digits))
        };
        sign(self).cmp(&sign(other)).then_with(|| match sign(self) {
            0 => Ordering::Equal,
            -1 => size().reverse(),
            _ => size(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
