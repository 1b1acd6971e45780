//! JSON as clients write it: with comments, with commas before closing brackets, with the place of every value.
//!
//! Own reader instead of serde's: that knows no comments and forgets places, and a client's file is edited in place. Linear and
//! bounded in bytes, depth and values; errors have a place and never a value.

use std::ops::Range;

/// Largest file that is read, in bytes. Claude Code keeps a history in the file of its servers.
pub(crate) const MAX_SIZE: usize = 16 << 20;
/// Deepest nesting.
const MAX_DEPTH: usize = 64;
/// Most values of a file.
const MAX_VALUES: usize = 1 << 20;

/// A value and its place in the text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Bytes from its first to its last.
    pub(crate) span: Range<usize>,
    /// The value.
    pub(crate) value: Value,
}

/// A value. Numbers keep their text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A member of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    /// The name.
    pub(crate) key: String,
    /// First byte of the name.
    pub(crate) start: usize,
    /// The value.
    pub(crate) node: Node,
}

/// A text that is no JSON of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}, line {line}, column {column}")]
pub(crate) struct JsonError {
    message: &'static str,
    line: usize,
    column: usize,
}

impl Node {
    /// The members of an object; none of any other value.
    pub(crate) fn members(&self) -> &[Member] {
        match &self.value {
            Value::Map(members) => members,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                &[]
            }
        }
    }

    /// The member of this name: the last one, as in every client.
    pub(crate) fn member(&self, key: &str) -> Option<&Member> {
        let mut members = self.members().iter();
        members.rfind(|member| member.key == key)
    }

    /// The value of the member of this name.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.member(key).map(|member| &member.node)
    }

    /// The text of a string.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => {
                None
            }
        }
    }

    /// The value without places; numbers are their text.
    pub(crate) fn plain(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(text) | Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::plain).collect(),
            Value::Map(members) => {
                let member = |member: &Member| (member.key.clone(), member.node.plain());
                serde_json::Value::Object(members.iter().map(member).collect())
            }
        }
    }

    /// The text of a string, a number or a truth value, as clients take it for a variable.
    pub(crate) fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
}

/// Reads one value.
///
/// # Errors
/// [`JsonError`] with the place.
pub(crate) fn parse(text: &str) -> Result<Node, JsonError> {
    let start = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut reader = Reader {
        text,
        at: start,
        room: MAX_VALUES,
    };
    if text.len() > MAX_SIZE {
        return Err(reader.error("file is larger than 16 MiB"));
    }
    let node = reader.value(0)?;
    reader.space()?;
    if reader.at < text.len() {
        return Err(reader.error("something follows the value"));
    }
    Ok(node)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Values that may still come.
    room: usize,
}

impl Reader<'_> {
    fn error(&self, message: &'static str) -> JsonError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let last = before.rsplit('\n').next().unwrap_or_default();
        JsonError {
            message,
            line,
            column: last.chars().count() + 1,
        }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes white space and comments.
    fn space(&mut self) -> Result<(), JsonError> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(b'/') if self.rest().starts_with("//") => {
                    self.at += self.rest().find('\n').unwrap_or_else(|| self.rest().len());
                }
                Some(b'/') if self.rest().starts_with("/*") => {
                    let Some(end) = self.rest().find("*/") else {
                        return Err(self.error("a comment does not end"));
                    };
                    self.at += end + 2;
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, JsonError> {
        self.space()?;
        if depth > MAX_DEPTH {
            return Err(self.error("values nest too deep"));
        }
        let Some(room) = self.room.checked_sub(1) else {
            return Err(self.error("too many values"));
        };
        self.room = room;
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.word()?,
            None => return Err(self.error("the file ends too early")),
        };
        Ok(Node {
            span: start..self.at,
            value,
        })
    }

    /// `null`, `true`, `false`.
    fn word(&mut self) -> Result<Value, JsonError> {
        let words = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
        ];
        for (word, value) in words {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.error("no value begins so"))
    }

    fn number(&mut self) -> Value {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let length = self
            .rest()
            .bytes()
            .take_while(|byte| is_part(*byte))
            .count();
        let text = self.rest().get(..length).unwrap_or_default().to_owned();
        self.at += length;
        Value::Number(text)
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let mut escaped = false;
        let inner = self.rest().bytes().skip(1);
        let end = inner.enumerate().find(|(_, byte)| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let Some((length, _)) = end else {
            return Err(self.error("a text does not end"));
        };
        let quoted = self.rest().get(..length + 2).unwrap_or_default();
        let Ok(text) = serde_json::from_str(quoted) else {
            return Err(self.error("a text has an escape or a line break that JSON does not know"));
        };
        self.at += length + 2;
        Ok(text)
    }

    /// Passes a comma or stays before `close`; returns whether another item follows.
    fn more(&mut self, close: u8) -> Result<bool, JsonError> {
        self.space()?;
        if self.peek() == Some(b',') {
            self.at += 1;
            self.space()?;
        } else if self.peek() != Some(close) {
            return Err(self.error("a comma or a closing bracket is missing"));
        }
        Ok(self.peek() != Some(close))
    }

    fn list(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.at += 1;
        self.space()?;
        let mut items = Vec::new();
        let mut more = self.peek() != Some(b']');
        while more {
            items.push(self.value(depth + 1)?);
            more = self.more(b']')?;
        }
        self.at += 1;
        Ok(Value::List(items))
    }

    fn map(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.at += 1;
        self.space()?;
        let mut members = Vec::new();
        let mut more = self.peek() != Some(b'}');
        while more {
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.error("the name of a member is missing"));
            }
            let key = self.string()?;
            self.space()?;
            if self.peek() != Some(b':') {
                return Err(self.error("a colon is missing"));
            }
            self.at += 1;
            let node = self.value(depth + 1)?;
            members.push(Member { key, start, node });
            more = self.more(b'}')?;
        }
        self.at += 1;
        Ok(Value::Map(members))
    }
}
