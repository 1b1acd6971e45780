//! The walk over the strings of a judged JSON text.

use std::hash::BuildHasher;

use bytes::Bytes;

use super::{At, Cut, MASK, Mask, Masked, Written, reading::Texts, steps};

/// The whole text, masked; `None` if nothing had to be.
pub(super) fn masked(mask: &Mask, json: &[u8], cuts: &mut Vec<Cut>) -> Option<Masked> {
    let mut walk = Walk {
        mask,
        json,
        at: 0,
        copied: 0,
        out: Vec::new(),
        places: 0,
        open: Vec::new(),
        cuts,
    };
    walk.run();
    if walk.places == 0 {
        return None;
    }
    let rest = json.get(walk.copied..).unwrap_or_default();
    walk.out.extend_from_slice(rest);
    Some(Masked {
        bytes: Bytes::from(walk.out),
        places: walk.places,
    })
}

/// An object or array the walk is in.
struct Open {
    /// Objects alternate between keys and values.
    is_object: bool,
    awaits_key: bool,
    /// The keys on the way here and the last one seen.
    path: u64,
    key: u64,
}

struct Walk<'a> {
    mask: &'a Mask,
    json: &'a [u8],
    at: usize,
    /// Up to here the text is in `out`.
    copied: usize,
    out: Vec<u8>,
    places: usize,
    open: Vec<Open>,
    cuts: &'a mut Vec<Cut>,
}

impl Walk<'_> {
    fn run(&mut self) {
        while let Some(&byte) = self.json.get(self.at) {
            steps::add(1);
            match byte {
                b'"' => self.string(),
                b'{' | b'[' => {
                    let path = self.path();
                    self.open.push(Open {
                        is_object: byte == b'{',
                        awaits_key: byte == b'{',
                        path,
                        key: 0,
                    });
                    self.at += 1;
                }
                b'}' | b']' => {
                    self.open.pop();
                    self.at += 1;
                }
                b',' => {
                    if let Some(open) = self.open.last_mut() {
                        open.awaits_key = open.is_object;
                    }
                    self.at += 1;
                }
                b':' | b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                _ => self.word(),
            }
        }
    }

    /// Where the next value is, indexes left out: fragments of one text have one path.
    fn path(&self) -> u64 {
        self.open
            .last()
            .map_or(0, |open| self.mask.hasher.hash_one((open.path, open.key)))
    }

    /// A number or a literal. One that holds a secret becomes a string.
    fn word(&mut self) {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| b",]}: \t\r\n".contains(byte))
            .unwrap_or(rest.len());
        steps::add(end);
        let word = rest.get(..end).unwrap_or_default();
        let path = self.path();
        let at = At {
            // A digit or two may be the same by chance, so a number goes on with six bytes or more.
            here: self.mask.hasher.hash_one((path, "number")),
            next: path,
            counts: false,
        };
        if !self
            .mask
            .value(word, Written::AsJson, at, self.cuts)
            .is_empty()
        {
            self.put(self.at, self.at + end, format!("\"{MASK}\"").as_bytes());
            self.places += 1;
        }
        self.at += end.max(1);
    }

    fn string(&mut self) {
        let from = self.at + 1;
        let rest = self.json.get(from..).unwrap_or_default();
        let end = from + closing(rest);
        let raw = self.json.get(from..end).unwrap_or_default();
        self.at = end + 1;
        let awaits_key = self.open.last().is_some_and(|open| open.awaits_key);
        let at = if awaits_key {
            self.key(raw)
        } else {
            At::value(self.path())
        };
        let ranges = self.mask.value(raw, Written::AsJson, at, self.cuts);
        self.places += ranges.len();
        for (begins, ends) in ranges {
            self.put(from + begins, from + ends, MASK.as_bytes());
        }
    }

    /// The place of a key. Keys of objects at one place continue each other, and a key continues in its own value.
    fn key(&mut self, raw: &[u8]) -> At {
        let hasher = &self.mask.hasher;
        let key = hasher.hash_one(Texts::new(raw, Written::AsJson).text());
        let mut here = 0;
        if let Some(open) = self.open.last_mut() {
            open.awaits_key = false;
            open.key = key;
            here = hasher.hash_one((open.path, "keys"));
        }
        At {
            here,
            next: self.path(),
            counts: false,
        }
    }

    fn put(&mut self, from: usize, to: usize, instead: &[u8]) {
        let before = self.json.get(self.copied..from).unwrap_or_default();
        self.out.extend_from_slice(before);
        self.out.extend_from_slice(instead);
        self.copied = to;
    }
}

/// How far it is to the quote that closes a string.
fn closing(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', rest.get(at..).unwrap_or_default()) {
        steps::add(found / 16 + 1);
        at += found;
        if rest.get(at) == Some(&b'"') {
            return at;
        }
        at += 2;
    }
    rest.len()
}

/// The text with each range replaced by the mask.
pub(super) fn replaced(text: &[u8], ranges: &[(usize, usize)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut copied = 0;
    for &(from, to) in ranges {
        out.extend_from_slice(text.get(copied..from).unwrap_or_default());
        out.extend_from_slice(MASK.as_bytes());
        copied = to;
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    out
}
