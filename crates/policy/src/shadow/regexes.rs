//! `regex.*`, as OPA answers them.
//!
//! Compiled patterns are kept by the evaluator that uses them: the evaluator's own functions copy the compiled pattern for
//! each use, and with it make what a search works in, under a lock all threads share.

use std::collections::HashMap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use regorus::Value;

use super::re2;

/// Most patterns an engine keeps compiled; a pattern may come out of the arguments.
const MAX_PATTERNS: usize = 512;
/// Largest compiled pattern of those of which many are kept, in bytes.
const MAX_PATTERN: usize = 100 * 1024;
/// Largest compiled pattern at all: `^.{1,500}$` is one of the large.
const MAX_LARGE: usize = 1024 * 1024;
/// Most large patterns an engine keeps compiled.
const MAX_LARGE_PATTERNS: usize = 32;

type Answer = Result<Value, String>;

/// Compiled patterns, owned by one evaluator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patterns {
    compiled: HashMap<Arc<str>, Regex>,
    /// Number of those that are large.
    large: usize,
}

impl Patterns {
    fn with<T>(
        &mut self,
        pattern: &Arc<str>,
        search: impl FnOnce(&Regex) -> T,
    ) -> Result<T, String> {
        if let Some(regex) = self.compiled.get(pattern) {
            return Ok(search(regex));
        }
        let (regex, is_large) = compiled(pattern)?;
        let found = search(&regex);
        let has_room = !is_large || self.large < MAX_LARGE_PATTERNS;
        if self.compiled.len() < MAX_PATTERNS && has_room {
            self.large += usize::from(is_large);
            self.compiled.insert(Arc::clone(pattern), regex);
        }
        Ok(found)
    }
}

/// A pattern, and whether it is large.
fn compiled(pattern: &str) -> Result<(Regex, bool), String> {
    let translated = re2::translate(pattern).map_err(|why| format!("no valid pattern: {why}"))?;
    let within = |size| RegexBuilder::new(&translated).size_limit(size).build();
    match within(MAX_PATTERN) {
        Err(regex::Error::CompiledTooBig(_)) => within(MAX_LARGE).map(|regex| (regex, true)),
        built => built.map(|regex| (regex, false)),
    }
    .map_err(|error| {
        let large = matches!(error, regex::Error::CompiledTooBig(_));
        let why = if large {
            "the pattern is too large"
        } else {
            "no valid pattern"
        };
        why.to_owned()
    })
}

fn text(values: &[Value], index: usize) -> Result<&Arc<str>, String> {
    match values.get(index) {
        Some(Value::String(text)) => Ok(text),
        Some(_) | None => Err(format!("argument {} must be a text", index + 1)),
    }
}

/// The number of matches that are wanted: all where it is negative.
fn limit(values: &[Value], index: usize) -> Result<usize, String> {
    let number = match values.get(index) {
        Some(Value::Number(number)) => number.as_i64(),
        Some(_) | None => None,
    };
    let number = number.ok_or_else(|| format!("argument {} must be an integer", index + 1))?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

pub(super) fn matches(values: &[Value], patterns: &mut Patterns) -> Answer {
    let (pattern, subject) = (text(values, 0)?, text(values, 1)?);
    patterns.with(pattern, |regex| Value::Bool(regex.is_match(subject)))
}

/// Whether a text is a pattern; what is no text is none.
pub(super) fn is_valid(values: &[Value], _: &mut Patterns) -> Answer {
    let valid = text(values, 0).is_ok_and(|pattern| {
        re2::translate(pattern).is_ok_and(|pattern| Regex::new(&pattern).is_ok())
    });
    Ok(Value::Bool(valid))
}

pub(super) fn find(values: &[Value], patterns: &mut Patterns) -> Answer {
    let (pattern, subject, most) = (text(values, 0)?, text(values, 1)?, limit(values, 2)?);
    patterns.with(pattern, |regex| {
        let found = regex.find_iter(subject).take(most);
        Value::from(
            found
                .map(|found| Value::from(found.as_str()))
                .collect::<Vec<_>>(),
        )
    })
}

pub(super) fn find_groups(values: &[Value], patterns: &mut Patterns) -> Answer {
    let (pattern, subject, most) = (text(values, 0)?, text(values, 1)?, limit(values, 2)?);
    patterns.with(pattern, |regex| {
        let groups = regex.captures_iter(subject).take(most).map(|found| {
            let texts = found
                .iter()
                .map(|group| Value::from(group.map_or("", |group| group.as_str())));
            Value::from(texts.collect::<Vec<_>>())
        });
        Value::from(groups.collect::<Vec<_>>())
    })
}

pub(super) fn replace(values: &[Value], patterns: &mut Patterns) -> Answer {
    let (subject, pattern, new) = (text(values, 0)?, text(values, 1)?, text(values, 2)?);
    patterns.with(pattern, |regex| {
        Value::from(&*regex.replace_all(subject, &**new))
    })
}

/// As Go splits: an empty match at the start or the end separates nothing.
pub(super) fn split(values: &[Value], patterns: &mut Patterns) -> Answer {
    let (pattern, subject) = (text(values, 0)?, text(values, 1)?);
    patterns.with(pattern, |regex| {
        if !pattern.is_empty() && subject.is_empty() {
            return Value::from(vec![Value::from("")]);
        }
        let mut pieces = Vec::new();
        let (mut begin, mut end) = (0, 0);
        for found in regex.find_iter(subject) {
            end = found.start();
            if found.end() != 0 {
                pieces.extend(subject.get(begin..end).map(Value::from));
            }
            begin = found.end();
        }
        if end != subject.len() {
            pieces.extend(subject.get(begin..).map(Value::from));
        }
        Value::from(pieces)
    })
}

/// A text with patterns between delimiters.
pub(super) fn template(values: &[Value], patterns: &mut Patterns) -> Answer {
    let (template, subject) = (text(values, 0)?, text(values, 1)?);
    let delimiter = |index: usize| match text(values, index)?.as_bytes() {
        [delimiter] => Ok(*delimiter),
        _ => Err(format!("argument {} must be one character", index + 1)),
    };
    let (open, close) = (delimiter(2)?, delimiter(3)?);
    let mut pattern = String::from("^");
    let (mut depth, mut start, mut end) = (0_u32, 0, 0);
    for (at, byte) in template.bytes().enumerate() {
        if byte == open {
            depth += 1;
            if depth == 1 {
                start = at;
            }
        } else if byte == close {
            depth = depth.checked_sub(1).ok_or("unbalanced delimiters")?;
            if depth == 0 {
                let (Some(raw), Some(inner)) =
                    (template.get(end..start), template.get(start + 1..at))
                else {
                    return Err("unbalanced delimiters".to_owned());
                };
                // Each is a pattern of its own.
                compiled(inner)?;
                pattern.push_str(&format!("{}({inner})", regex::escape(raw)));
                end = at + 1;
            }
        }
    }
    if depth > 0 {
        return Err("unbalanced delimiters".to_owned());
    }
    pattern.push_str(&regex::escape(template.get(end..).unwrap_or_default()));
    pattern.push('$');
    patterns.with(&pattern.into(), |regex| {
        Value::Bool(regex.is_match(subject))
    })
}
