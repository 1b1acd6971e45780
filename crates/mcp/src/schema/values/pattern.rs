//! `pattern` and `patternProperties`: regular expressions of ECMA-262, run in a time linear in the text.

use regex_automata::{
    Input,
    nfa::thompson::{self, pikevm::PikeVM},
    util::syntax,
};

/// Longest pattern that is read, in bytes.
const MAX_BYTES: usize = 4096;
/// Memory of one compiled pattern: `^.{1,1000}$` fits.
const MAX_MEMORY: usize = 1 << 20;

/// A pattern. The machine is the one that can name its memory and its cost per byte; patterns with references back or looks
/// around cannot be had so.
#[derive(Debug)]
pub(super) struct Pattern(PikeVM);

impl Pattern {
    /// Compiles a pattern; none for one that is invalid, too large, or not regular.
    pub(super) fn new(pattern: &str) -> Option<Self> {
        if pattern.len() > MAX_BYTES {
            return None;
        }
        let pattern = jsonschema_regex::to_rust_regex(pattern).ok()?;
        let config = thompson::Config::new()
            .nfa_size_limit(Some(MAX_MEMORY))
            .which_captures(thompson::WhichCaptures::None);
        PikeVM::builder()
            .syntax(syntax::Config::new().nest_limit(64).crlf(true))
            .thompson(config)
            .build(&pattern)
            .ok()
            .map(Self)
    }

    /// Bytes of memory it holds.
    pub(super) fn size(&self) -> usize {
        self.0.get_nfa().memory_usage() + size_of::<Self>()
    }

    /// Steps that a search in so many bytes takes at most.
    pub(super) fn steps(&self, bytes: usize) -> usize {
        (self.0.get_nfa().states().len() / 8 + 1).saturating_mul(bytes + 1)
    }

    /// Whether it matches anywhere in `text`.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.0
            .is_match(&mut self.0.create_cache(), Input::new(text).earliest(true))
    }
}
