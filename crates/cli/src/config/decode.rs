//! From the tree to typed values: every fault is noted, and reading goes on.
//!
//! [`Fields`] learns the keys of a section from the calls that read them, so the list of known keys cannot fall behind.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::document::{Entry, Node, Scalar, Value, join};
use super::fault::{Fault, Faults, Origin, shown};
use super::nearest::nearest;

/// What is said of a key that a later version will have.
const LATER: &str = "not in this version of keepgate";

/// A value with the place it came from, for errors that only show when values meet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it was written.
    pub(crate) origin: Origin,
    /// Its path in the file, for messages.
    pub(crate) path: String,
}

impl<T> At<T> {
    /// A fault in this value.
    pub(crate) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.origin.clone(), &self.path, message)
    }
}

/// What can be read from a node.
pub(crate) trait Decode: Sized {
    /// Reads the value at `path`; `None` after noting what is wrong with it.
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self>;
}

/// Reads the keys of one map.
pub(crate) struct Fields<'a> {
    entries: &'a [Entry],
    origin: Origin,
    path: &'a str,
    faults: &'a mut Faults,
    known: Vec<&'static str>,
    later: Vec<&'static str>,
    renamed: Vec<(&'static str, &'static str)>,
}

impl<'a> Fields<'a> {
    /// The keys of `node`, which has to be a map. An empty one has none.
    pub(crate) fn new(node: &'a Node, path: &'a str, faults: &'a mut Faults) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(Self::of(entries, node.origin.clone(), path, faults)),
            Value::Null => Some(Self::of(&[], node.origin.clone(), path, faults)),
            Value::Scalar(_) | Value::List(_) => {
                faults.push(wrong(node, path, "a map of keys"));
                None
            }
        }
    }

    /// The keys in `entries`, none read yet.
    fn of(entries: &'a [Entry], origin: Origin, path: &'a str, faults: &'a mut Faults) -> Self {
        Self {
            entries,
            origin,
            path,
            faults,
            known: Vec::new(),
            later: Vec::new(),
            renamed: Vec::new(),
        }
    }

    /// The value of `key`, if it is there and right.
    pub(crate) fn optional<T: Decode>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        T::decode(&entry.node, &join(self.path, key), self.faults)
    }

    /// The value of `key`, or `default` when it is not there or not right.
    pub(crate) fn or<T: Decode>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The section at `key`. One that is not there, or is no section, is read like an empty one: its defaults apply.
    /// `None` only for a `T` that an empty section cannot make.
    pub(crate) fn section<T: Decode>(&mut self, key: &'static str) -> Option<T> {
        if let Some(section) = self.optional(key) {
            return Some(section);
        }
        let empty = Node {
            origin: Origin::Whole,
            value: Value::Null,
        };
        T::decode(&empty, &join(self.path, key), self.faults)
    }

    /// The value of `key`, which has to be there; `hint` says what to write.
    pub(crate) fn required<T: Decode>(&mut self, key: &'static str, hint: &str) -> Option<T> {
        if !self.has(key) {
            // The beginning of the file says nothing; that of a section does.
            let origin = if self.path.is_empty() {
                Origin::Whole
            } else {
                self.origin.clone()
            };
            self.faults
                .push(Fault::new(origin, &join(self.path, key), "key is missing").hint(hint));
        }
        self.optional(key)
    }

    /// Notes a fault when `key` is there with nothing in it.
    pub(crate) fn refuse_empty(&mut self, key: &'static str) {
        let Some(entry) = self.entries.iter().find(|entry| entry.key == key) else {
            return;
        };
        let empty = match &entry.node.value {
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
            Value::Null | Value::Scalar(_) => false,
        };
        if empty {
            let fault = Fault::new(
                entry.origin.clone(),
                &join(self.path, key),
                "needs at least one entry",
            );
            self.faults.push(fault);
        }
    }

    /// Whether `key` is written down, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Keys that a later version will have: unknown, but with a better hint.
    pub(crate) fn later(&mut self, keys: &[&'static str]) {
        self.later.extend_from_slice(keys);
    }

    /// Former names of keys, each with the path of the key that replaced it: unknown, with a hint that names it.
    pub(crate) fn renamed(&mut self, keys: &[(&'static str, &'static str)]) {
        self.renamed.extend_from_slice(keys);
    }

    /// Notes a fault of the section as a whole.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn finish(self) {
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            // Nobody knows what its value is.
            self.faults.hide(&entry.origin);
            let fault = Fault::new(
                entry.origin.clone(),
                &join(self.path, &entry.key),
                "unknown key",
            );
            let renamed = self.renamed.iter().find(|(old, _)| *old == entry.key);
            let fault = if let Some((_, new)) = renamed {
                fault.hint(format!("renamed to `{new}`"))
            } else if self.later.contains(&entry.key.as_str()) {
                fault.hint(LATER)
            } else if let Some(key) = nearest(&entry.key, self.known.iter().copied()) {
                fault.hint(format!("did you mean `{key}`?"))
            } else {
                fault.hint(format!("known keys here: {}", self.known.join(", ")))
            };
            self.faults.push(fault);
        }
    }
}

/// "Expected this, found that".
pub(crate) fn wrong(node: &Node, path: &str, expected: &str) -> Fault {
    let found = match &node.value {
        Value::Scalar(Scalar { text, .. }) => format!("found {}", shown(path, text)),
        value @ (Value::Null | Value::List(_) | Value::Map(_)) => {
            format!("found {}", value.describe())
        }
    };
    Fault::new(
        node.origin.clone(),
        path,
        format!("expected {expected}, {found}"),
    )
}

/// [`wrong`] for what has to stand without quotes.
pub(crate) fn wrong_plain(node: &Node, path: &str, expected: &str) -> Fault {
    let fault = wrong(node, path, expected);
    match &node.value {
        Value::Scalar(Scalar { plain: false, .. }) => fault.hint("write it without quotes"),
        Value::Scalar(_) | Value::Null | Value::List(_) | Value::Map(_) => fault,
    }
}

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let value = T::decode(node, path, faults)?;
        Some(Self {
            value,
            origin: node.origin.clone(),
            path: path.to_owned(),
        })
    }
}

/// Text: any single value that is not empty.
impl Decode for String {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Scalar(Scalar { text, .. }) if !text.is_empty() => Some(text.clone()),
            Value::Scalar(_) => {
                faults.push(Fault::new(node.origin.clone(), path, "value is empty"));
                None
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                faults.push(wrong(node, path, "text"));
                None
            }
        }
    }
}

/// Text that may be empty, as the values of environment variables and arguments are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Text(pub(crate) String);

impl Decode for Text {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Scalar(Scalar { text, .. }) => Some(Self(text.clone())),
            Value::Null | Value::List(_) | Value::Map(_) => {
                let fault = wrong(node, path, "text");
                faults.push(fault.hint("put an empty text in quotes: \"\""));
                None
            }
        }
    }
}

/// `true` or `false`; other spellings of YAML's past are refused, because readers differ on them.
impl Decode for bool {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        match plain(node) {
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(_) | None => {
                faults.push(wrong_plain(node, path, "true or false"));
                None
            }
        }
    }
}

/// A whole number, 0 or more.
impl Decode for u64 {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let digits = plain(node).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|text| text.parse().ok());
        if number.is_none() {
            faults.push(wrong_plain(node, path, "a whole number"));
        }
        number
    }
}

/// A whole number, 1 or more.
impl Decode for NonZeroUsize {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let digits = plain(node).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|text| text.parse().ok());
        if number.is_none() {
            faults.push(wrong_plain(node, path, "a whole number, 1 or more"));
        }
        number
    }
}

/// A length of time with its unit: `500ms`, `30s`, `5m`, `2h`.
impl Decode for Duration {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let read = written(node).and_then(duration);
        if read.is_none() {
            faults.push(wrong_plain(
                node,
                path,
                "a time with its unit, like 500ms, 30s, 5m or 2h",
            ));
        }
        read
    }
}

/// The text of a duration, as [`duration`] reads it: exact, in the largest unit that is.
pub(crate) fn length(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let exact = units
        .iter()
        .find(|(_, unit)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit));
    match exact {
        Some((name, unit)) => format!("{}{name}", milliseconds / unit),
        None => format!("{milliseconds}ms"),
    }
}

/// The duration that `text` spells, of at most a hundred years; `None` for other text. Also used for flags.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let total = number.checked_mul(milliseconds)?;
    // Later than anything here lives, and near enough that every moment it leads to has a date.
    const LONGEST: u64 = 100 * 366 * 86_400_000;
    (1..=LONGEST)
        .contains(&total)
        .then(|| Duration::from_millis(total))
}

/// A number of bytes: `65536`, `64KiB`, `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Size(pub(crate) usize);

impl Decode for Size {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let read = written(node).and_then(|text| {
            let (number, unit) = number_and_unit(text)?;
            let bytes: usize = match unit {
                "" => 1,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return None,
            };
            usize::try_from(number)
                .ok()?
                .checked_mul(bytes)
                .filter(|size| *size > 0)
        });
        if read.is_none() {
            faults.push(wrong_plain(
                node,
                path,
                "a size in bytes, like 65536, 64KiB or 1MiB",
            ));
        }
        read.map(Self)
    }
}

/// Digits, then the rest.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

/// The text of a value without quotes.
pub(crate) fn plain(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(Scalar { text, plain: true }) => Some(text),
        Value::Scalar(_) | Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// The text of a value, with or without quotes.
pub(crate) fn written(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar(Scalar { text, .. }) => Some(text),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

/// A list. An item that is wrong is noted and left out.
impl<T: Decode> Decode for Vec<T> {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let Value::List(items) = &node.value else {
            faults.push(
                wrong(node, path, "a list")
                    .hint("write it as [one, two] or as lines that begin with -"),
            );
            return None;
        };
        let items = items.iter().enumerate();
        Some(
            items
                .filter_map(|(index, item)| T::decode(item, &format!("{path}[{index}]"), faults))
                .collect(),
        )
    }
}

/// A single value or a list of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<T>);

impl<T: Decode> Decode for OneOrMany<T> {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::decode(node, path, faults).map(Self),
            Value::Null | Value::Scalar(_) | Value::Map(_) => {
                T::decode(node, path, faults).map(|one| Self(vec![one]))
            }
        }
    }
}

/// A map whose keys are names. An entry that is wrong is noted and left out.
impl<T: Decode> Decode for BTreeMap<String, At<T>> {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Null | Value::Scalar(_) | Value::List(_) => {
                faults.push(wrong(node, path, "a map from names to values"));
                return None;
            }
        };
        let mut read = Self::new();
        for entry in entries {
            let path = join(path, &entry.key);
            if let Some(value) = T::decode(&entry.node, &path, faults) {
                // The place of the name: what is wrong with an entry as a whole is said there.
                read.insert(
                    entry.key.clone(),
                    At {
                        value,
                        origin: entry.origin.clone(),
                        path,
                    },
                );
            }
        }
        Some(read)
    }
}

/// One of a few words; `later` words exist in a later version only.
pub(crate) fn choice<T: Copy>(
    node: &Node,
    path: &str,
    faults: &mut Faults,
    words: &[(&'static str, T)],
    later: &[&str],
) -> Option<T> {
    // A word in quotes is the same word: JSON is YAML too.
    let text = written(node).unwrap_or_default();
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let fault = wrong(node, path, &format!("one of {}", known.join(", ")));
    faults.push(match nearest(text, known.iter().copied()) {
        _ if later.contains(&text) => fault.hint(LATER),
        Some(word) => fault.hint(format!("did you mean `{word}`?")),
        None => fault,
    });
    None
}
