//! Classes of text that are recognised by their form: addresses, numbers and secrets.
//!
//! Forms that carry a check (cards, IBAN) are checked, so that other numbers pass; where a form has none, too much is found
//! rather than too little. Only what stands in one piece of text is found, in ASCII digits.

use std::sync::LazyLock;

use keepgate_policy::{PatternClass, looks};

use super::steps;
use regex::Regex;

/// What stands in place of what was redacted.
pub(super) const MASK: &str = "[redacted]";

/// What was masked may have hidden another find; after so many rounds the whole text is masked.
const ROUNDS: usize = 4;

type Range = (usize, usize);

/// The text with everything of `classes` masked, and how many places that were; `None` if there is nothing.
pub(super) fn masked(classes: &[PatternClass], text: &str) -> Option<(String, usize)> {
    let (mut out, mut places) = once(classes, text)?;
    for _ in 0..ROUNDS {
        let Some((next, more)) = once(classes, &out) else {
            return Some((out, places));
        };
        out = next;
        places += more;
    }
    Some((MASK.to_owned(), places))
}

/// Whether anything of `classes` stands in the text.
pub(super) fn holds(classes: &[PatternClass], text: &str) -> bool {
    classes.iter().any(|class| !found(*class, text).is_empty())
}

fn once(classes: &[PatternClass], text: &str) -> Option<(String, usize)> {
    let mut ranges: Vec<Range> = Vec::new();
    for class in classes {
        ranges.extend(found(*class, text));
    }
    replaced(text, ranges)
}

/// The text with each range replaced by the mask, those that touch as one; `None` if there is none.
pub(super) fn replaced(text: &str, mut ranges: Vec<Range>) -> Option<(String, usize)> {
    if ranges.is_empty() {
        return None;
    }
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match merged.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            Some(_) | None => merged.push((from, to)),
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (from, to) in &merged {
        out.push_str(text.get(copied..*from).unwrap_or_default());
        out.push_str(MASK);
        copied = *to;
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Some((out, merged.len()))
}

/// Where `class` stands in the text.
fn found(class: PatternClass, text: &str) -> Vec<Range> {
    steps::add(text.len());
    match class {
        PatternClass::Email => emails(text),
        PatternClass::Card => cards(text),
        PatternClass::Iban => ibans(text),
        PatternClass::Ssn => bounded(&SSN, text, is_digit),
        PatternClass::Phone => bounded(&PHONE, text, is_digit),
        PatternClass::Ipv4 => bounded(&IPV4, text, |byte| is_digit(byte) || byte == b'.'),
        PatternClass::Jwt => all(&JWT, text),
        PatternClass::AwsAccessKey => bounded(&AWS, text, |byte| byte.is_ascii_alphanumeric()),
        PatternClass::PrivateKey => all(&PRIVATE_KEY, text),
        PatternClass::BearerToken => all(&BEARER, text),
    }
}

fn compiled(pattern: &str) -> Option<Regex> {
    // The patterns are constants, and a test compiles them all.
    Regex::new(pattern).ok()
}

type Lazy = LazyLock<Option<Regex>>;

/// United States, with separators: nine digits alone are too many other things.
static SSN: Lazy = LazyLock::new(|| compiled(r"[0-9]{3}[- .][0-9]{2}[- .][0-9]{4}"));
/// International with `+` or `00`, and North American with separators.
static PHONE: Lazy = LazyLock::new(|| {
    compiled(
        r"(?:\+|00)[1-9](?:[ .\-/()]{0,2}[0-9]){6,14}|(?:\([0-9]{3}\) ?|[0-9]{3}[ .\-])[0-9]{3}[ .\-][0-9]{4}",
    )
});
static IPV4: Lazy = LazyLock::new(|| {
    compiled(
        r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}",
    )
});
static JWT: Lazy = LazyLock::new(|| secret(PatternClass::Jwt));
static AWS: Lazy = LazyLock::new(|| secret(PatternClass::AwsAccessKey));
static PRIVATE_KEY: Lazy = LazyLock::new(|| secret(PatternClass::PrivateKey));
static BEARER: Lazy = LazyLock::new(|| secret(PatternClass::BearerToken));

fn secret(class: PatternClass) -> Option<Regex> {
    looks::secret(class).and_then(compiled)
}

fn all(regex: &Lazy, text: &str) -> Vec<Range> {
    let Some(regex) = &**regex else {
        return vec![(0, text.len())];
    };
    let found = regex.find_iter(text);
    found.map(|found| (found.start(), found.end())).collect()
}

/// Finds beside which no byte of the same kind stands.
fn bounded(regex: &Lazy, text: &str, inner: impl Fn(u8) -> bool) -> Vec<Range> {
    let Some(regex) = &**regex else {
        return vec![(0, text.len())];
    };
    let bytes = text.as_bytes();
    let is_inner = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(|b| inner(*b));
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some(found) = regex.find_at(text, at) {
        let (from, to) = (found.start(), found.end());
        steps::add(to - at);
        // A full stop ends sentences as well as parts of an address: it bounds unless a digit follows.
        let sentence = bytes.get(to) == Some(&b'.') && !is_inner(Some(to + 1));
        if is_inner(from.checked_sub(1)) || (is_inner(Some(to)) && !sentence) {
            at = from + 1;
        } else {
            ranges.push((from, to));
            at = to;
        }
    }
    ranges
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// An `@` with what may stand before it, and a domain of two labels or more after it.
fn emails(text: &str) -> Vec<Range> {
    let local = |c: char| c.is_alphanumeric() || "._%+-'".contains(c);
    let label = |c: char| c.is_alphanumeric() || c == '-';
    let mut ranges = Vec::new();
    for (at, _) in text.match_indices('@') {
        let (before, after) = (text.get(..at), text.get(at + 1..));
        let (Some(before), Some(after)) = (before, after) else {
            continue;
        };
        let from = before.trim_end_matches(local).len();
        steps::add(before.len() - from);
        // A quote is part of a name, but not where one begins.
        let name = before.get(from..).unwrap_or_default();
        let from = at - name.trim_start_matches('\'').len();
        let domain = after.len() - after.trim_start_matches(|c| label(c) || c == '.').len();
        steps::add(domain);
        let domain = after
            .get(..domain)
            .unwrap_or_default()
            .trim_end_matches('.');
        let labels = domain.split('.');
        let is_domain = domain.contains('.') && labels.clone().all(|label| !label.is_empty());
        if from < at && is_domain {
            ranges.push((from, at + 1 + domain.len()));
        }
    }
    ranges
}

/// Runs of 13 to 19 digits, perhaps with one space, dash or dot between two of them, that begin as cards do and pass the
/// check of ISO/IEC 7812 (Luhn).
fn cards(text: &str) -> Vec<Range> {
    let bytes = text.as_bytes();
    let mut ranges = Vec::new();
    for (from, byte) in bytes.iter().enumerate() {
        let first = from == 0 || !bytes.get(from - 1).is_some_and(u8::is_ascii_digit);
        if !first || !matches!(byte, b'2'..=b'6') {
            continue;
        }
        let mut digits: SmallDigits = SmallDigits::new();
        let mut at = from;
        while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
            digits.push(digit - b'0');
            at += 1;
            steps::add(1);
            let ended = !bytes.get(at).is_some_and(u8::is_ascii_digit);
            if ended && is_card(&digits) {
                ranges.push((from, at));
            }
            let separated = matches!(bytes.get(at), Some(b' ' | b'-' | b'.'));
            if separated && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            if digits.len() == 19 {
                break;
            }
        }
    }
    ranges
}

type SmallDigits = smallvec::SmallVec<[u8; 20]>;

fn is_card(digits: &[u8]) -> bool {
    steps::add(digits.len());
    let lead = |count: usize| {
        let leading = digits.iter().take(count);
        leading.fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    let long_enough = match (lead(1), digits.len()) {
        (4, 13..=19) | (5 | 6, 12..=19) => true,
        (3, 14..=19) => matches!(lead(2), 30 | 34..=39),
        (2, 16..=19) => (2200..=2720).contains(&lead(4)),
        (_, _) => false,
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (1, digit) if digit > 4 => digit * 2 - 9,
            (1, digit) => digit * 2,
            (_, digit) => digit,
        })
        .sum();
    long_enough && sum.is_multiple_of(10)
}

/// Two letters, two digits and 11 to 30 letters or digits, perhaps in groups, that pass the check of ISO 13616 (modulo 97).
fn ibans(text: &str) -> Vec<Range> {
    let bytes = text.as_bytes();
    let is_inner = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let mut ranges = Vec::new();
    for (from, window) in bytes.windows(4).enumerate() {
        let begins = matches!(window, [a, b, c, d] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic()
            && c.is_ascii_digit() && d.is_ascii_digit());
        if !begins || (from > 0 && is_inner(from - 1)) {
            continue;
        }
        let mut account: smallvec::SmallVec<[u8; 34]> = smallvec::SmallVec::new();
        let mut end = None;
        let mut at = from;
        while let Some(byte) = bytes.get(at).filter(|byte| byte.is_ascii_alphanumeric()) {
            account.push(byte.to_ascii_uppercase());
            at += 1;
            steps::add(1);
            if account.len() >= 15 && !is_inner(at) && is_iban(&account) {
                end = Some(at);
            }
            if matches!(bytes.get(at), Some(b' ' | b'-')) && is_inner(at + 1) {
                at += 1;
            }
            if account.len() == 34 {
                break;
            }
        }
        ranges.extend(end.map(|end| (from, end)));
    }
    ranges
}

fn is_iban(account: &[u8]) -> bool {
    steps::add(account.len());
    let (head, rest) = account.split_at(account.len().min(4));
    let remainder = rest.iter().chain(head).fold(0_u32, |sum, byte| {
        let digit = char::from(*byte).to_digit(36).unwrap_or_default();
        (sum * if digit < 10 { 10 } else { 100 } + digit) % 97
    });
    remainder == 1
}

#[cfg(test)]
mod tests;
