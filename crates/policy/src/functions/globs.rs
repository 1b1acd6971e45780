//! `regex.globs_match`: whether some text, not the empty one, matches both of two simple patterns.
//!
//! A pattern is a row of symbols (a character, `.`, or a set `[a-z0]`), each of which may be followed by `*` or `+`; `\`
//! takes the meaning away from the next character. Two such rows are walked together: a place is how far each has got.

use std::collections::BTreeSet;

use regorus::Value;

use super::{Answer, text_at};

/// Longest pattern, in bytes: places are looked at once, and there are as many as the product of the lengths.
const MAX_PATTERN: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Symbol {
    Any,
    /// One of these ranges, both ends in them.
    Of(Vec<(char, char)>),
}

impl Symbol {
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Of(one), Self::Of(other)) => one.iter().any(|(first, last)| {
                other
                    .iter()
                    .any(|(other_first, other_last)| first <= other_last && other_first <= last)
            }),
        }
    }
}

/// A symbol and how often it may be there.
#[derive(Debug, Clone)]
struct Step {
    symbol: Symbol,
    /// None at all will do.
    optional: bool,
    repeats: bool,
}

pub(super) fn intersect(values: &[Value]) -> Answer {
    let one = steps(text_at(values, 0, MAX_PATTERN)?)?;
    let other = steps(text_at(values, 1, MAX_PATTERN)?)?;
    // A place says whether a character was read yet, and which symbols it may have been or may be next.
    let mut seen = BTreeSet::new();
    let mut next = vec![(0, 0, false)];
    while let Some(place) = next.pop() {
        if !seen.insert(place) {
            continue;
        }
        let (left, right, read) = place;
        if left == one.len() && right == other.len() {
            if read {
                return Ok(Value::Bool(true));
            }
            continue;
        }
        let (step, facing) = (one.get(left), other.get(right));
        if step.is_some_and(|step| step.optional) {
            next.push((left + 1, right, read));
        }
        if facing.is_some_and(|step| step.optional) {
            next.push((left, right + 1, read));
        }
        if let (Some(step), Some(facing)) = (step, facing)
            && step.symbol.meets(&facing.symbol)
        {
            for left in after(left, step) {
                for right in after(right, facing) {
                    next.push((left, right, true));
                }
            }
        }
    }
    Ok(Value::Bool(false))
}

/// Where a pattern may be after it has read a character with a step: past it, or still at it.
fn after(at: usize, step: &Step) -> impl Iterator<Item = usize> + use<> {
    std::iter::once(at + 1).chain(step.repeats.then_some(at))
}

/// A step that repeats and needs one is two: one that is needed and does not repeat, one that repeats and is not needed.
fn steps(pattern: &str) -> Result<Vec<Step>, String> {
    let wrong = |what: &str| format!("{what}: `{pattern}`");
    let mut letters = pattern.chars().peekable();
    let mut steps: Vec<Step> = Vec::new();
    while let Some(letter) = letters.next() {
        let symbol = match letter {
            '.' => Symbol::Any,
            '[' => Symbol::Of(set(&mut letters).map_err(wrong)?),
            ']' => return Err(wrong("`]` without `[`")),
            '*' | '+' => return Err(wrong("nothing to repeat")),
            '\\' => {
                let letter = letters.next().ok_or_else(|| wrong("nothing after `\\`"))?;
                Symbol::Of(vec![(letter, letter)])
            }
            letter => Symbol::Of(vec![(letter, letter)]),
        };
        let repeated = letters.next_if(|letter| matches!(letter, '*' | '+'));
        if repeated == Some('+') {
            steps.push(Step {
                symbol: symbol.clone(),
                optional: false,
                repeats: false,
            });
        }
        steps.push(Step {
            symbol,
            optional: repeated.is_some(),
            repeats: repeated.is_some(),
        });
    }
    Ok(steps)
}

/// What stands between `[` and `]`.
fn set(
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> Result<Vec<(char, char)>, &'static str> {
    let mut ranges = Vec::new();
    loop {
        let first = match letters.next().ok_or("`[` without `]`")? {
            ']' if ranges.is_empty() => return Err("an empty set"),
            ']' => return Ok(ranges),
            '[' => return Err("a set in a set"),
            '-' => return Err("a range without a beginning"),
            '\\' => letters.next().ok_or("nothing after `\\`")?,
            letter => letter,
        };
        if letters.next_if_eq(&'-').is_none() {
            ranges.push((first, first));
            continue;
        }
        let last = match letters.next().ok_or("`[` without `]`")? {
            ']' | '[' | '-' => return Err("a range without an end"),
            '\\' => letters.next().ok_or("nothing after `\\`")?,
            letter => letter,
        };
        if last < first {
            return Err("a range that ends before it begins");
        }
        ranges.push((first, last));
    }
}
