//! The canonical form of a value: values that mean the same have the same bytes, however they were written.

use super::Raw;
use crate::encode::escape_into;

/// The canonical form of `value`: members in the order of their names' bytes, strings with one way of escaping, no white space.
/// Numbers stay as they were written, since readers differ over what they round to. Each byte is read once; depth is bounded
/// by the scanner.
pub fn canonical(value: Raw<'_>) -> String {
    let mut out = String::with_capacity(value.as_bytes().len());
    Cursor(value.as_bytes()).value(&mut out);
    out
}

/// The rest of a text that passed the scanner.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// Writes the next value.
    fn value(&mut self, out: &mut String) {
        match self.peek() {
            Some(b'"') => escape_into(out, &self.string().string().unwrap_or_default()),
            Some(b'[') => self.array(out),
            Some(b'{') => self.object(out),
            Some(_) => {
                let ends =
                    |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n');
                let end = self.0.iter().position(ends).unwrap_or(self.0.len());
                out.push_str(self.take(end).as_str());
            }
            None => {}
        }
    }

    fn array(&mut self, out: &mut String) {
        self.take(1);
        out.push('[');
        let mut is_first = true;
        while self.peek().is_some_and(|byte| byte != b']') {
            if !std::mem::take(&mut is_first) {
                out.push(',');
            }
            self.value(out);
            self.skip(b',');
        }
        self.take(1);
        out.push(']');
    }

    fn object(&mut self, out: &mut String) {
        self.take(1);
        let mut members = Vec::new();
        while self.peek().is_some_and(|byte| byte != b'}') {
            let name = self.string().string().unwrap_or_default();
            self.skip(b':');
            let mut form = String::new();
            self.value(&mut form);
            self.skip(b',');
            members.push((name, form));
        }
        self.take(1);
        // The scanner refuses names that are there twice.
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        out.push('{');
        for (at, (name, form)) in members.into_iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            escape_into(out, &name);
            out.push(':');
            out.push_str(&form);
        }
        out.push('}');
    }

    /// The string that stands here.
    fn string(&mut self) -> Raw<'a> {
        self.peek();
        let mut end = 1;
        while let Some(at) = self
            .0
            .get(end..)
            .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
        {
            let is_escape = self.0.get(end + at) == Some(&b'\\');
            end += at + if is_escape { 2 } else { 1 };
            if !is_escape {
                break;
            }
        }
        self.take(end)
    }

    /// The first byte that is no white space, which is passed over.
    fn peek(&mut self) -> Option<u8> {
        self.0 = self.0.trim_ascii_start();
        self.0.first().copied()
    }

    /// Passes over `byte`, if it comes next.
    fn skip(&mut self, byte: u8) {
        if self.peek() == Some(byte) {
            self.take(1);
        }
    }

    fn take(&mut self, count: usize) -> Raw<'a> {
        let (taken, rest) = self.0.split_at_checked(count).unwrap_or((self.0, &[]));
        self.0 = rest;
        Raw::trusted(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::canonical;
    use crate::{Limits, json::parse};

    fn of(text: &str) -> String {
        canonical(parse(text.as_bytes(), &Limits::request()).expect("JSON"))
    }

    #[test]
    fn equal_values_have_one_form() {
        let cases = [
            (
                r#" { "b" : 1 , "a" : [ true , null ] } "#,
                r#"{"a":[true,null],"b":1}"#,
            ),
            (r#"{"\u0062":1,"a":2}"#, r#"{"a":2,"b":1}"#),
            (
                r#"{"x":{"z":1,"y":{"b":1,"a":2}}}"#,
                r#"{"x":{"y":{"a":2,"b":1},"z":1}}"#,
            ),
            (r#""\u0041\/\n""#, r#""A/\n""#),
            (
                r#"{"é":1,"z":2,"\ud83d\ude00":3}"#,
                "{\"z\":2,\"é\":1,\"😀\":3}",
            ),
            // Numbers are as they were written.
            (
                "[1,1.0,1e0,-0,12345678901234567890]",
                "[1,1.0,1e0,-0,12345678901234567890]",
            ),
            ("{}", "{}"),
        ];
        for (text, expected) in cases {
            assert_eq!(of(text), expected);
        }
    }

    proptest! {
        #[test]
        fn the_form_is_json_that_means_the_same(value in json()) {
            let text = value.to_string();
            let form = of(&text);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&form).expect("JSON"), value);
            prop_assert_eq!(of(&form), form);
        }
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }
}
