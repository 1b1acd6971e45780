//! The automaton over all patterns of a mask (Aho and Corasick 1975), laid out small and overwritten when it is dropped.
//!
//! Not the one of the `aho-corasick` crate: that one reports neither how long a beginning of a pattern is at the end of a
//! text, which is what a secret cut by an event is found by, nor does it overwrite the secrets in its tables. Most patterns
//! share nothing with another, so a child is as a rule the next node, and only where patterns part is a table asked: ten
//! bytes a node. One byte of text costs one step and, amortised, one more along a failure link: no text costs more than two
//! steps a byte.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::{
    encode::{Alphabet, Pattern, folded},
    steps,
};

/// The next node is a child of this one.
const CHAIN: u8 = 1;
/// Children are in the table.
const BRANCH: u8 = 2;
/// A pattern that ends here, or one at its end, is base64.
const BASE64: u8 = 4;

/// A place in the automaton: the longest beginning of a pattern that ends here.
pub(super) type State = u32;

/// Before any pattern.
pub(super) const ROOT: State = 0;

/// Node 0 is the root.
pub(super) struct Automaton {
    bytes: Zeroizing<Vec<u8>>,
    fail: Vec<State>,
    /// Number of bytes that lead here.
    depth: Vec<u16>,
    /// The length of the longest pattern that ends here; 0 for none.
    ends: Vec<u16>,
    flags: Vec<u8>,
    first: Vec<State>,
    branches: HashMap<(State, u8), State>,
}

/// The patterns are too long or too many.
#[derive(Debug)]
pub(super) struct TooLarge;

impl Automaton {
    /// Over `patterns`, none of them empty.
    pub(super) fn new(patterns: &[Pattern]) -> Result<Self, TooLarge> {
        // Room for all at once: a vector that grows leaves what it held behind.
        let room = 1 + patterns.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        if u32::try_from(room).is_err() {
            return Err(TooLarge);
        }
        let mut automaton = Self {
            bytes: Zeroizing::new(Vec::with_capacity(room)),
            fail: Vec::new(),
            depth: Vec::new(),
            ends: Vec::new(),
            flags: Vec::new(),
            first: vec![ROOT; 256],
            branches: HashMap::new(),
        };
        let mut parents: Vec<State> = Vec::new();
        automaton.push(0, 0);
        parents.push(ROOT);
        for (alphabet, pattern) in patterns {
            automaton.insert(*alphabet, pattern, &mut parents)?;
        }
        automaton.link(&parents);
        Ok(automaton)
    }

    fn push(&mut self, byte: u8, depth: u16) {
        self.bytes.push(byte);
        self.depth.push(depth);
        self.fail.push(ROOT);
        self.ends.push(0);
        self.flags.push(0);
    }

    fn insert(
        &mut self,
        alphabet: Alphabet,
        pattern: &[u8],
        parents: &mut Vec<State>,
    ) -> Result<(), TooLarge> {
        let length = u16::try_from(pattern.len()).map_err(|_| TooLarge)?;
        let mut state = ROOT;
        for (depth, byte) in (1_u16..).zip(pattern.iter().map(|byte| folded(*byte))) {
            if let Some(child) = self.child(state, byte) {
                state = child;
                continue;
            }
            let made = u32::try_from(self.bytes.len()).map_err(|_| TooLarge)?;
            if state == ROOT {
                if let Some(first) = self.first.get_mut(usize::from(byte)) {
                    *first = made;
                }
            } else if made == state + 1 {
                self.flag(state, CHAIN);
            } else {
                self.branches.insert((state, byte), made);
                self.flag(state, BRANCH);
            }
            self.push(byte, depth);
            parents.push(state);
            state = made;
        }
        if let Some(ends) = self.ends.get_mut(state as usize) {
            *ends = length;
        }
        if alphabet == Alphabet::Base64 {
            self.flag(state, BASE64);
        }
        Ok(())
    }

    /// Sets the failure links, shortest beginnings first: each needs those of what is shorter.
    fn link(&mut self, parents: &[State]) {
        let mut order: Vec<State> = (1..).take(self.bytes.len().saturating_sub(1)).collect();
        order.sort_by_key(|state| self.depth_of(*state));
        for state in order {
            let parent = parents.get(state as usize).copied().unwrap_or_default();
            let byte = self.bytes.get(state as usize).copied().unwrap_or_default();
            let fail = if parent == ROOT {
                ROOT
            } else {
                let shorter = self.fail.get(parent as usize).copied().unwrap_or_default();
                self.next(shorter, byte)
            };
            if let Some(link) = self.fail.get_mut(state as usize) {
                *link = fail;
            }
            let (shorter, is_base64) = (self.ends_of(fail), self.is_base64(fail));
            if let Some(ends) = self.ends.get_mut(state as usize) {
                *ends = shorter.max(*ends);
            }
            if is_base64 {
                self.flag(state, BASE64);
            }
        }
    }

    fn flag(&mut self, state: State, flag: u8) {
        if let Some(flags) = self.flags.get_mut(state as usize) {
            *flags |= flag;
        }
    }

    fn has(&self, state: State, flag: u8) -> bool {
        self.flags
            .get(state as usize)
            .is_some_and(|flags| flags & flag != 0)
    }

    fn child(&self, state: State, byte: u8) -> Option<State> {
        let byte = folded(byte);
        if state == ROOT {
            let first = self.first.get(usize::from(byte)).copied();
            return first.filter(|first| *first != ROOT);
        }
        let flags = self.flags.get(state as usize).copied().unwrap_or_default();
        if flags & CHAIN != 0 && self.bytes.get(state as usize + 1) == Some(&byte) {
            return Some(state + 1);
        }
        if flags & BRANCH != 0 {
            return self.branches.get(&(state, byte)).copied();
        }
        None
    }

    /// The state after one more byte.
    pub(super) fn next(&self, mut state: State, byte: u8) -> State {
        loop {
            steps::add(1);
            match self.child(state, byte) {
                Some(child) => return child,
                None if state == ROOT => return ROOT,
                None => state = self.fail.get(state as usize).copied().unwrap_or(ROOT),
            }
        }
    }

    /// The state of a beginning of a pattern, if it is one.
    pub(super) fn walk(&self, beginning: &[u8]) -> Option<State> {
        let mut bytes = beginning.iter();
        bytes.try_fold(ROOT, |state, byte| self.child(state, *byte))
    }

    /// Number of bytes of a pattern that have come.
    pub(super) fn depth_of(&self, state: State) -> usize {
        self.depth.get(state as usize).copied().unwrap_or(0).into()
    }

    /// The length of the longest pattern that ends here; 0 for none.
    pub(super) fn ends_of(&self, state: State) -> u16 {
        self.ends.get(state as usize).copied().unwrap_or(0)
    }

    /// Whether a pattern that ends here is base64.
    pub(super) fn is_base64(&self, state: State) -> bool {
        self.has(state, BASE64)
    }

    /// The longest beginning that may still go on.
    pub(super) fn open(&self, mut state: State) -> State {
        while state != ROOT && !self.has(state, CHAIN | BRANCH) {
            state = self.fail.get(state as usize).copied().unwrap_or(ROOT);
        }
        state
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let branch = size_of::<((State, u8), State)>() + 1;
        self.bytes.capacity()
            + (self.fail.capacity() + self.first.capacity()) * size_of::<State>()
            + (self.depth.capacity() + self.ends.capacity()) * size_of::<u16>()
            + self.flags.capacity()
            + self.branches.capacity() * branch
    }
}
