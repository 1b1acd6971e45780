//! The form in which OPA hashes structured files: members sorted by key, no white space, numbers as they were written.
//!
//! OPA's own writer is Go's JSON encoder without the escaping of HTML, so strings are escaped as that does.

use std::collections::BTreeMap;

use regorus::Value;

/// Deepest nesting.
const MAX_DEPTH: u32 = 64;

/// Why a text has no such form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CanonicalError {
    #[error("not JSON, at byte `{0}`")]
    Json(usize),
    #[error("not YAML")]
    Yaml,
    #[error("nested deeper than {MAX_DEPTH}")]
    Deep,
    #[error("the same key twice, at byte `{0}`")]
    Twice(usize),
}

/// The canonical form of a JSON text.
pub(crate) fn json(text: &str) -> Result<Vec<u8>, CanonicalError> {
    let mut reader = Reader { text, at: 0 };
    let mut out = Vec::with_capacity(text.len());
    reader.value(0, &mut out)?;
    reader.space();
    if reader.at == text.len() {
        Ok(out)
    } else {
        Err(CanonicalError::Json(reader.at))
    }
}

/// The canonical form of a YAML document.
pub(crate) fn yaml(text: &str) -> Result<Vec<u8>, CanonicalError> {
    let value = Value::from_yaml_str(text).map_err(|_| CanonicalError::Yaml)?;
    let json_text = value.to_json_str().map_err(|_| CanonicalError::Yaml)?;
    json(&json_text)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self) -> CanonicalError {
        CanonicalError::Json(self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: u32, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        if depth > MAX_DEPTH {
            return Err(CanonicalError::Deep);
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth, out),
            Some(b'[') => self.array(depth, out),
            Some(b'"') => {
                write_string(&self.string()?, out);
                Ok(())
            }
            Some(_) => {
                out.extend_from_slice(self.word()?.as_bytes());
                Ok(())
            }
            None => Err(self.wrong()),
        }
    }

    fn object(&mut self, depth: u32, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        self.at += 1;
        let mut members = BTreeMap::new();
        if !self.take(b'}') {
            loop {
                self.space();
                let start = self.at;
                let key = self.string()?;
                if !self.take(b':') {
                    return Err(self.wrong());
                }
                let mut value = Vec::new();
                self.value(depth + 1, &mut value)?;
                if members.insert(key, value).is_some() {
                    return Err(CanonicalError::Twice(start));
                }
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.wrong());
                }
            }
        }
        out.push(b'{');
        for (index, (key, value)) in members.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(key, out);
            out.push(b':');
            out.extend_from_slice(value);
        }
        out.push(b'}');
        Ok(())
    }

    fn array(&mut self, depth: u32, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
        self.at += 1;
        out.push(b'[');
        if !self.take(b']') {
            loop {
                self.value(depth + 1, out)?;
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.wrong());
                }
                out.push(b',');
            }
        }
        out.push(b']');
        Ok(())
    }

    /// A string, whose end is found here and whose escapes serde_json reads.
    fn string(&mut self) -> Result<String, CanonicalError> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.wrong());
        }
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => return Err(self.wrong()),
            }
        }
        self.at += 1;
        let quoted = self.text.get(start..self.at).ok_or_else(|| self.wrong())?;
        serde_json::from_str(quoted).map_err(|_| CanonicalError::Json(start))
    }

    /// A number, `true`, `false` or `null`, as it is written.
    fn word(&mut self) -> Result<&'a str, CanonicalError> {
        let start = self.at;
        while matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.')
        ) {
            self.at += 1;
        }
        let word = self
            .text
            .get(start..self.at)
            .filter(|word| serde_json::from_str::<&serde_json::value::RawValue>(word).is_ok());
        word.ok_or(CanonicalError::Json(start))
    }
}

/// Writes a string as Go does.
fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for letter in text.chars() {
        match letter {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(letter)).as_bytes());
            }
            _ => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
