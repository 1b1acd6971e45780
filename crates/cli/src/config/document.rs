//! YAML text to a tree that remembers where everything stood.
//!
//! Own tree instead of serde, because serde stops at the first error and forgets lines, and the operator is owed all
//! errors at once. The tree knows less than YAML on purpose: anchors, aliases, tags and further documents are refused,
//! so a file says one thing to every reader and no small file grows large.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::fault::{Fault, Faults, Origin};

/// Largest file that is read, in bytes.
pub(crate) const MAX_SIZE: usize = 1 << 20;
/// How deep values may nest.
const MAX_DEPTH: usize = 32;

/// A value and where it stood.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where it begins.
    pub(crate) origin: Origin,
    /// What it is.
    pub(crate) value: Value,
}

/// What a value is. Scalars keep their text: what it means depends on the key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text in quotes or not.
    Scalar(Scalar),
    /// `[..]` or lines with `-`.
    List(Vec<Node>),
    /// `{..}` or lines `key: value`.
    Map(Vec<Entry>),
}

impl Value {
    /// What it is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map of keys",
        }
    }
}

/// Text, and whether it stood there without quotes (only then can it be a number or a truth value).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    /// The text without its quotes.
    pub(crate) text: String,
    /// Whether it stood there without quotes.
    pub(crate) plain: bool,
}

/// One key of a map with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// Where the key stood.
    pub(crate) origin: Origin,
    /// Its value.
    pub(crate) node: Node,
}

/// Reads one document. `None` when there is no tree to go on with; what is wrong goes to `faults`.
pub(crate) fn parse(text: &str, faults: &mut Faults) -> Option<Node> {
    if text.len() > MAX_SIZE {
        let message = format!(
            "file has {} bytes, more than the {MAX_SIZE} that are read",
            text.len()
        );
        faults.push(Fault::new(Origin::default(), "", message));
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        faults,
    };
    builder.stream().ok()
}

/// The fault was pushed; nothing more can be read.
struct Stop;

/// Turns the parser's events into the tree.
struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    faults: &'a mut Faults,
}

impl<'a> Builder<'a> {
    /// The one document of the file.
    fn stream(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.event()?;
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) => {
                    if root.is_some() {
                        self.fault(
                            span.start,
                            "",
                            "a second document begins here, only one is read",
                        );
                        return Err(Stop);
                    }
                }
                first @ (Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd) => root = Some(self.node(first, span, "", 0)?),
            }
        }
        Ok(root.unwrap_or_else(|| Node {
            origin: Origin::default(),
            value: Value::Null,
        }))
    }

    /// The value that begins with `event`.
    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        path: &str,
        depth: usize,
    ) -> Result<Node, Stop> {
        if depth > MAX_DEPTH {
            self.fault(
                span.start,
                path,
                &format!("values nest deeper than {MAX_DEPTH} levels"),
            );
            return Err(Stop);
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), span, path);
                scalar(text.into_owned(), style)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), span, path);
                self.list(path, depth)?
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.is_some(), span, path);
                self.map(path, depth)?
            }
            Event::Alias(_) => {
                self.fault(
                    span.start,
                    path,
                    "aliases (`*name`) are not read, write the value out",
                );
                Value::Null
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                self.fault(span.start, path, "a value is missing here");
                return Err(Stop);
            }
        };
        Ok(Node {
            origin: origin(span.start),
            value,
        })
    }

    /// The items of a list, up to its end.
    fn list(&mut self, path: &str, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.event()?;
            if event == Event::SequenceEnd {
                return Ok(Value::List(items));
            }
            let path = format!("{path}[{}]", items.len());
            items.push(self.node(event, span, &path, depth + 1)?);
        }
    }

    /// The entries of a map, up to its end. A key that stands there twice is refused: readers differ on which counts.
    fn map(&mut self, path: &str, depth: usize) -> Result<Value, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        loop {
            let (event, span) = self.event()?;
            if event == Event::MappingEnd {
                return Ok(Value::Map(entries));
            }
            let Value::Scalar(Scalar { text: key, .. }) =
                self.node(event, span, path, depth + 1)?.value
            else {
                self.fault(span.start, path, "a key has to be a plain word");
                return Err(Stop);
            };
            let path = join(path, &key);
            let (event, value_span) = self.event()?;
            let mut node = self.node(event, value_span, &path, depth + 1)?;
            if path.contains(".env.") {
                // What children get in their environment is often a secret.
                self.faults
                    .hide_lines(span.start.line()..=value_span.end.line());
            }
            if !matches!(node.value, Value::Scalar(_)) {
                // What is wrong with a section as a whole is best said at its key.
                node.origin = origin(span.start);
            }
            match lines.insert(key.clone(), span.start.line()) {
                Some(first) => {
                    self.fault(
                        span.start,
                        &path,
                        &format!("key stands here a second time, first in line {first}"),
                    );
                }
                None => entries.push(Entry {
                    key,
                    origin: origin(span.start),
                    node,
                }),
            }
        }
    }

    /// The next event, or the parser's complaint as a fault.
    fn event(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                self.fault(*error.marker(), "", &format!("not YAML: {}", error.info()));
                Err(Stop)
            }
            None => {
                self.faults.push(Fault::new(
                    Origin::default(),
                    "",
                    "not YAML: the file ends too early",
                ));
                Err(Stop)
            }
        }
    }

    /// Anchors and tags would make the file mean something else to another reader.
    fn refuse_extras(&mut self, anchor: usize, tagged: bool, span: Span, path: &str) {
        if anchor != 0 {
            self.fault(
                span.start,
                path,
                "anchors (`&name`) are not read, write the value out",
            );
        }
        if tagged {
            self.fault(span.start, path, "tags (`!name`) are not read");
        }
    }

    /// Notes what is wrong at `at`.
    fn fault(&mut self, at: Marker, path: &str, message: &str) {
        self.faults.push(Fault::new(origin(at), path, message));
    }
}

/// A scalar's text, or nothing.
fn scalar(text: String, style: ScalarStyle) -> Value {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    Value::Scalar(Scalar { text, plain })
}

/// Lines and columns count from 1.
fn origin(at: Marker) -> Origin {
    Origin::File {
        line: at.line(),
        column: at.col() + 1,
    }
}

/// `path.key`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
