//! Places in a JSON value: RFC 6901 pointers in which `*` stands for one level and `**` for any number of them.
//!
//! Matching goes down with whoever walks the value: at each level a pointer keeps the set of its steps that may come next.

use keepgate_mcp::fold::folded;
use smallvec::SmallVec;

/// The most steps of a pointer; each is a bit of a set.
const STEPS_MOST: usize = 63;

/// A pointer with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The member, or the item of an array, of this name.
    Named(String),
    /// Any member or item.
    Any,
    /// Any number of levels, also none.
    Deep,
}

impl Pointer {
    /// Reads a pointer: empty for the whole value, or steps that each begin with `/`. `None` for anything else, and for
    /// more than 63 steps.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let steps = if text.is_empty() {
            Vec::new()
        } else {
            let named = text.strip_prefix('/')?.split('/').map(step);
            named.collect::<Option<Vec<_>>>()?
        };
        (steps.len() <= STEPS_MOST).then_some(Self(steps))
    }

    /// The pointer as it is written.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for step in &self.0 {
            text.push('/');
            match step {
                Step::Named(name) => text.push_str(&name.replace('~', "~0").replace('/', "~1")),
                Step::Any => text.push('*'),
                Step::Deep => text.push_str("**"),
            }
        }
        text
    }

    /// The steps that may come first.
    fn start(&self) -> u64 {
        self.closed(1)
    }

    /// The steps that may come after `states` when the walk enters `name`.
    fn enter(&self, states: u64, name: &str) -> u64 {
        let mut next = 0;
        for (at, step) in self.0.iter().enumerate() {
            if states >> at & 1 == 0 {
                continue;
            }
            next |= match step {
                Step::Named(wanted) if is_same(wanted, name) => 2 << at,
                Step::Named(_) => 0,
                Step::Any => 2 << at,
                Step::Deep => 1 << at,
            };
        }
        self.closed(next)
    }

    /// With the steps after `**`, which may stand for no level at all.
    fn closed(&self, mut states: u64) -> u64 {
        for (at, step) in self.0.iter().enumerate() {
            if *step == Step::Deep && states >> at & 1 == 1 {
                states |= 2 << at;
            }
        }
        states
    }

    fn ends(&self, states: u64) -> bool {
        states >> self.0.len() & 1 == 1
    }
}

/// Whether some reader takes one name for the other: one that ignores case finds what stands under another spelling.
fn is_same(wanted: &str, name: &str) -> bool {
    if wanted.is_ascii() && name.is_ascii() {
        return wanted.eq_ignore_ascii_case(name);
    }
    wanted == name || folded(wanted) == folded(name)
}

fn step(text: &str) -> Option<Step> {
    Some(match text {
        "*" => Step::Any,
        "**" => Step::Deep,
        text => Step::Named(unescaped(text)?),
    })
}

/// A step with `~1` and `~0` read (RFC 6901 §4). `None` for a `~` before anything else.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('~') {
        out.push_str(before);
        out.push(match after.bytes().next() {
            Some(b'0') => '~',
            Some(b'1') => '/',
            Some(_) | None => return None,
        });
        rest = after.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    Some(out)
}

/// Where a walk stands with regard to several pointers.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(SmallVec<[u64; 4]>);

impl Places {
    /// At the root of a value.
    pub(super) fn root<'a>(pointers: impl Iterator<Item = &'a Pointer>) -> Self {
        Self(pointers.map(Pointer::start).collect())
    }

    /// Inside the member or item `name`.
    pub(super) fn enter<'a>(
        &self,
        pointers: impl Iterator<Item = &'a Pointer>,
        name: &str,
    ) -> Self {
        let states = pointers.zip(&self.0);
        Self(
            states
                .map(|(pointer, states)| pointer.enter(*states, name))
                .collect(),
        )
    }

    /// Whether each pointer, in order, names the value the walk is at.
    pub(super) fn named<'a>(
        &'a self,
        pointers: impl Iterator<Item = &'a Pointer> + 'a,
    ) -> impl Iterator<Item = bool> + 'a {
        pointers
            .zip(&self.0)
            .map(|(pointer, states)| pointer.ends(*states))
    }

    /// Whether no pointer can name anything below.
    pub(super) fn is_dead(&self) -> bool {
        self.0.iter().all(|states| *states == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Places, Pointer};

    fn names(pointer: &str, path: &[&str]) -> bool {
        let pointer = [Pointer::parse(pointer).unwrap()];
        let mut places = Places::root(pointer.iter());
        for step in path {
            places = places.enter(pointer.iter(), step);
        }
        places.named(pointer.iter()).any(|named| named)
    }

    #[test]
    fn a_pointer_names_what_its_steps_say() {
        for (pointer, path, named) in [
            ("", &[][..], true),
            ("", &["a"], false),
            ("/a", &["a"], true),
            // As a reader sees it that ignores case, but no other name.
            ("/a", &["A"], true),
            ("/Items/*/ssn", &["items", "0", "\u{17f}SN"], true),
            ("/a", &["\u{430}"], false),
            ("/a", &["a", "b"], false),
            ("/a~1b/c~0", &["a/b", "c~"], true),
            ("/", &[""], true),
            ("/items/*/ssn", &["items", "0", "ssn"], true),
            ("/items/*/ssn", &["items", "ssn"], false),
            ("/items/*/ssn", &["items", "0", "x", "ssn"], false),
            ("/**/ssn", &["ssn"], true),
            ("/**/ssn", &["a", "b", "c", "ssn"], true),
            ("/**/ssn", &["a", "ssn", "b"], false),
            ("/a/**", &["a"], true),
            ("/a/**", &["a", "b", "c"], true),
            ("/a/**/b/*/c", &["a", "b", "b", "x", "c"], true),
            ("/**/**/x", &["x"], true),
            ("/items/0", &["items", "0"], true),
        ] {
            assert_eq!(names(pointer, path), named, "{pointer} {path:?}");
        }
    }

    #[test]
    fn what_is_no_pointer_is_none() {
        let long = "/a".repeat(64);
        for bad in ["a", "a/b", "/a~", "/a~2", &long] {
            assert!(Pointer::parse(bad).is_none(), "{bad}");
        }
    }
}
