//! Iterators over the items of an array and the members of an object that passed the scanner.

use super::{Raw, text};
use crate::steps;

/// The items of an array, in order. Made by [`Raw::items`].
#[derive(Debug, Clone)]
pub struct Items<'a>(&'a [u8]);

/// The members of an object, in order: key (a string value) and value. Made by [`Raw::members`].
#[derive(Debug, Clone)]
pub struct Members<'a>(&'a [u8]);

impl<'a> Items<'a> {
    pub(super) fn new(array: Raw<'a>) -> Self {
        Self(inside(array, b'[', b']'))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Raw<'a>> {
        let (item, rest) = take_value(self.0)?;
        self.0 = after(rest, b',');
        Some(item)
    }
}

impl<'a> Members<'a> {
    pub(super) fn new(object: Raw<'a>) -> Self {
        Self(inside(object, b'{', b'}'))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Raw<'a>, Raw<'a>);

    fn next(&mut self) -> Option<(Raw<'a>, Raw<'a>)> {
        let (key, rest) = take_value(self.0)?;
        let (value, rest) = take_value(after(rest, b':'))?;
        self.0 = after(rest, b',');
        Some((key, value))
    }
}

fn inside(raw: Raw<'_>, open: u8, close: u8) -> &[u8] {
    raw.as_bytes()
        .strip_prefix(&[open])
        .and_then(|rest| rest.strip_suffix(&[close]))
        .unwrap_or_default()
        .trim_ascii()
}

/// What follows the separator and the space around it.
fn after(rest: &[u8], separator: u8) -> &[u8] {
    let next = rest.trim_ascii_start();
    let next = next.strip_prefix(&[separator]).unwrap_or(next);
    let next = next.trim_ascii_start();
    steps::add(rest.len() - next.len());
    next
}

/// The value at the start of `text`, and the rest. The text passed the scanner, so only strings and nesting need watching.
fn take_value(text: &[u8]) -> Option<(Raw<'_>, &[u8])> {
    let end = value_end(text)?;
    steps::add(end / 8 + 1);
    let (value, rest) = text.split_at_checked(end)?;
    (!value.is_empty()).then_some((Raw::trusted(value), rest))
}

fn value_end(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' => string_end(text, 0),
        b'{' | b'[' => {
            let mut open = 0_usize;
            let mut at = 0;
            loop {
                match text.get(at)? {
                    b'"' => {
                        at = string_end(text, at)?;
                        continue;
                    }
                    b'{' | b'[' => open += 1,
                    b'}' | b']' => open = open.checked_sub(1)?,
                    _ => {}
                }
                at += 1;
                if open == 0 {
                    return Some(at);
                }
            }
        }
        _ => Some(
            text.iter()
                .position(|byte| {
                    matches!(
                        byte,
                        b',' | b':' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'
                    )
                })
                .unwrap_or(text.len()),
        ),
    }
}

/// The place after the closing quote of the string that opens at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at = text::plain_end(text, at);
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
