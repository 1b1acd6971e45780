//! Items of a server's list that cannot be read, dropped so that the others can: one tool with a schema nested too deeply, or with
//! a key twice, would otherwise take away every tool of its server.
//!
//! The text is split by brackets and strings alone. What is left is read as strictly as any message, so a text that
//! splits in another way than a parser would split it is refused there.

use std::ops::Range;

use bytes::Bytes;

use super::string_end;
use crate::{Limits, message};

/// Members of a result that are lists (`tools/list`, `prompts/list`, `resources/list`, `resources/templates/list`).
const LISTS: [&[u8]; 4] = [b"tools", b"prompts", b"resources", b"resourceTemplates"];
/// Members that make a result one of a call, which is passed on whole or not at all.
const OF_CALLS: [&[u8]; 2] = [b"content", b"structuredContent"];
/// Depth of an item: the message, its result and the list are around it.
const AROUND: usize = 3;

/// The text without the items that `limits` or the grammar refuse, and how many those were; `None` where there is no list, or
/// nothing wrong with its items.
pub(super) fn without_unreadable(text: &[u8], limits: &Limits) -> Option<(Vec<u8>, usize)> {
    let items = items(text)?;
    let first = items.first()?.start;
    let last = items.last()?.end;
    let mut kept = Vec::with_capacity(text.len());
    kept.extend_from_slice(text.get(..first)?);
    let mut dropped = 0;
    let mut is_first = true;
    for item in items {
        let item = text.get(item)?;
        if !is_readable(item, limits) {
            dropped += 1;
            continue;
        }
        if !is_first {
            kept.push(b',');
        }
        kept.extend_from_slice(item);
        is_first = false;
    }
    kept.extend_from_slice(text.get(last..)?);
    (dropped > 0).then_some((kept, dropped))
}

/// Whether an item is read in a message of its own.
fn is_readable(item: &[u8], limits: &Limits) -> bool {
    let alone = [br#"{"jsonrpc":"2.0","method":"item","params":"#, item, b"}"].concat();
    let limits = Limits {
        // Here the message alone is around it.
        depth: limits.depth.saturating_sub(AROUND - 1),
        bytes: alone.len(),
        ..*limits
    };
    message::decode(Bytes::from(alone), &limits).is_ok()
}

/// Places of the items of the list in the result, without the white space and commas between them.
fn items(text: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut splitter = Splitter::default();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                let end = string_end(text, at)?;
                splitter.string(text.get(at + 1..end - 1)?, at..end)?;
                at = end;
                continue;
            }
            b'{' | b'[' => splitter.open(byte, at),
            b'}' | b']' => splitter.close(at)?,
            b',' => splitter.comma(),
            b':' => splitter.is_value = true,
            byte if byte.is_ascii_whitespace() => {}
            _ => splitter.word(at),
        }
        at += 1;
    }
    splitter.found
}

/// A walk over the text that knows how deep it is, and what the last keys were.
#[derive(Default)]
struct Splitter {
    depth: usize,
    /// Between a colon and the next comma of an object.
    is_value: bool,
    /// The last key of the message is `result`.
    in_result: bool,
    /// The last key of the result is one of [`LISTS`].
    is_list: bool,
    /// The brackets of the list are open.
    in_list: bool,
    current: Option<Range<usize>>,
    items: Vec<Range<usize>>,
    found: Option<Vec<Range<usize>>>,
}

impl Splitter {
    /// A string: a key or a value. `None` where the result is one of a call.
    fn string(&mut self, text: &[u8], span: Range<usize>) -> Option<()> {
        if self.in_list {
            self.extend(span);
            return Some(());
        }
        match self.depth {
            1 if !self.is_value => self.in_result = text == b"result",
            2 if !self.is_value && self.in_result => {
                self.is_list = LISTS.contains(&text);
                if OF_CALLS.contains(&text) {
                    return None;
                }
            }
            _ => {}
        }
        Some(())
    }

    fn open(&mut self, byte: u8, at: usize) {
        if self.in_list {
            self.extend(at..at + 1);
        } else if byte == b'[' && self.depth == 2 && self.in_result && self.is_list && self.is_value
        {
            self.in_list = true;
        }
        self.depth += 1;
        if !self.in_list {
            self.is_value = false;
        }
    }

    /// `None` where more is closed than was opened.
    fn close(&mut self, at: usize) -> Option<()> {
        self.depth = self.depth.checked_sub(1)?;
        if self.in_list && self.depth == 2 {
            self.in_list = false;
            self.items.extend(self.current.take());
            // A second list of one result would be refused anyway: its key stands there twice, or it is of another kind.
            if self.found.is_none() {
                self.found = Some(std::mem::take(&mut self.items));
            }
        } else if self.in_list {
            self.extend(at..at + 1);
        }
        Some(())
    }

    fn comma(&mut self) {
        if self.in_list && self.depth == AROUND {
            self.items.extend(self.current.take());
        } else if !self.in_list {
            self.is_value = false;
        }
    }

    /// A byte of a number or a word.
    fn word(&mut self, at: usize) {
        if self.in_list {
            self.extend(at..at + 1);
        }
    }

    /// The current item reaches to the end of `span`.
    fn extend(&mut self, span: Range<usize>) {
        let start = self.current.as_ref().map_or(span.start, |item| item.start);
        self.current = Some(start..span.end);
    }
}
