//! JSON text to the evaluator's values, without losing a digit.
//!
//! The general deserialisers read a number beyond 64 bits as a float, so that a rule would judge another number than
//! the one that is forwarded. This one keeps integers exact, refuses decimals a float cannot tell apart, and bounds
//! what a number may cost. It also refuses duplicate keys, whatever the layer above promised.

use std::sync::Arc;

use regorus::Value;
use regorus::value::{Array, Object};

/// Deepest nesting; one more than the gateway's own cap on whole messages.
const MAX_DEPTH: u32 = 64;
/// Longest number, in characters.
const MAX_NUMBER: usize = 400;
/// Decimals with more significant digits than this cannot be told apart as 64-bit floats.
const MAX_SIGNIFICANT: usize = 17;

/// Why a text was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte `{offset}`")]
pub(crate) struct JsonError {
    /// What is wrong.
    pub(crate) reason: &'static str,
    /// Where, from 0.
    pub(crate) offset: usize,
}

/// A number that cannot be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberFault {
    /// Its fault.
    pub reason: &'static str,
    /// Its place in the text, in bytes.
    pub offset: usize,
}

/// The first number of a JSON text that cannot be evaluated as it is written.
pub fn number_fault(text: &str) -> Option<NumberFault> {
    let error = parse(text).err()?;
    [TOO_LONG, OUT_OF_RANGE, TOO_MANY_DIGITS]
        .contains(&error.reason)
        .then_some(NumberFault {
            reason: error.reason,
            offset: error.offset,
        })
}

const TOO_LONG: &str = "number too long";
const OUT_OF_RANGE: &str = "number out of range";
const TOO_MANY_DIGITS: &str = "decimal with more than 17 digits";

/// Reads one JSON value; nothing may follow it but white space.
pub(crate) fn parse(text: &str) -> Result<Value, JsonError> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at == text.len() {
        Ok(value)
    } else {
        Err(reader.wrong("text after the value"))
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, reason: &'static str) -> JsonError {
        JsonError {
            reason,
            offset: self.at,
        }
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
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        let rest = self.text.get(self.at..).unwrap_or("");
        if rest.starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.wrong("no JSON value"))
        }
    }

    fn value(&mut self, depth: u32) -> Result<Value, JsonError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("nested too deep"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) | None => Err(self.wrong("no JSON value")),
        }
    }

    fn object(&mut self, depth: u32) -> Result<Value, JsonError> {
        self.at += 1;
        let mut object = Object::new();
        self.space();
        if !self.take(b'}') {
            loop {
                self.space();
                if self.peek() != Some(b'"') {
                    return Err(self.wrong("no key"));
                }
                let key = self.string()?;
                self.space();
                if !self.take(b':') {
                    return Err(self.wrong("no colon after a key"));
                }
                let value = self.value(depth + 1)?;
                if object.insert(Value::String(key), value).is_some() {
                    return Err(self.wrong("duplicate key"));
                }
                self.space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.wrong("no comma between members"));
                }
            }
        }
        Ok(Value::Object(Arc::new(object)))
    }

    fn array(&mut self, depth: u32) -> Result<Value, JsonError> {
        self.at += 1;
        let mut items = Array::new();
        self.space();
        if !self.take(b']') {
            loop {
                items.push(self.value(depth + 1)?);
                self.space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.wrong("no comma between items"));
                }
            }
        }
        Ok(Value::Array(Arc::new(items)))
    }

    /// Reads a string whose opening quote is next.
    fn string(&mut self) -> Result<Arc<str>, JsonError> {
        self.at += 1;
        let plain = self.plain()?;
        if self.take(b'"') {
            return Ok(plain.into());
        }
        let mut text = String::from(plain);
        while !self.take(b'"') {
            self.at += 1; // the backslash `plain` stopped at
            text.push(self.escape()?);
            text.push_str(self.plain()?);
        }
        Ok(text.into())
    }

    /// Reads up to the next quote or backslash.
    fn plain(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        loop {
            match self.peek() {
                None => return Err(self.wrong("string without end")),
                Some(b'"' | b'\\') => {
                    return self
                        .text
                        .get(start..self.at)
                        .ok_or_else(|| self.wrong("no character"));
                }
                Some(0..=0x1f) => return Err(self.wrong("control character in a string")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let letter = self
            .peek()
            .ok_or_else(|| self.wrong("string without end"))?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code_point(),
            _ => return Err(self.wrong("unknown escape")),
        })
    }

    fn code_point(&mut self) -> Result<char, JsonError> {
        let first = self.four_digits()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !(self.take(b'\\') && self.take(b'u')) {
                return Err(self.wrong("half of a surrogate pair"));
            }
            let second = self.four_digits()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.wrong("half of a surrogate pair"));
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.wrong("half of a surrogate pair"))
    }

    fn four_digits(&mut self) -> Result<u32, JsonError> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .ok_or_else(|| self.wrong("short escape"))?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(self.wrong("short escape"));
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| self.wrong("short escape"))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.take(b'-');
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(self.wrong("no number"));
        }
        let mut integer = true;
        if self.take(b'.') {
            integer = false;
            if self.digits() == 0 {
                return Err(self.wrong("no digits after the point"));
            }
        }
        let mut exponent = false;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            exponent = true;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.wrong("no digits in the exponent"));
            }
        }
        let text = self
            .text
            .get(start..self.at)
            .ok_or_else(|| self.wrong("no number"))?;
        number_value(text, integer && !exponent, exponent).map_err(|reason| JsonError {
            reason,
            offset: start,
        })
    }
}

/// The value of a well-formed JSON number.
fn number_value(text: &str, integer: bool, exponent: bool) -> Result<Value, &'static str> {
    if text.len() > MAX_NUMBER {
        return Err(TOO_LONG);
    }
    if integer {
        if let Ok(number) = text.parse::<u64>() {
            return Ok(Value::from(number));
        }
        if let Ok(number) = text.parse::<i64>() {
            return Ok(Value::from(number));
        }
        return Value::from_numeric_string(text).map_err(|_| "no number");
    }
    let number: f64 = text.parse().map_err(|_| "no number")?;
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let significant = mantissa
        .bytes()
        .filter(u8::is_ascii_digit)
        .skip_while(|digit| *digit == b'0')
        .count();
    if !number.is_finite() || (number == 0.0 && significant > 0) {
        return Err(OUT_OF_RANGE);
    }
    if significant > MAX_SIGNIFICANT {
        return Err(TOO_MANY_DIGITS);
    }
    // Written with an exponent it may still be an integer, which must stay exact: 1e23 is not the float nearest to it.
    // Only here is it safe to expand one: the float just read bounds it at 10^308.
    if exponent && number.fract() == 0.0 {
        return Value::from_numeric_string(text).map_err(|_| "no number");
    }
    Ok(Value::from(number))
}

#[cfg(test)]
mod tests;
