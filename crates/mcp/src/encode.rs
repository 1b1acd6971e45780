//! A small JSON writer: the messages the gateway itself says.

use bytes::Bytes;

use crate::{Id, Method};

/// `text` as a JSON string with its quotes, on one line, safe to copy into any JSON or SSE data line.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    escape_into(&mut out, text);
    out
}

/// Appends [`escape`] of `text` to `out`.
pub fn escape_into(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, character) in text.char_indices() {
        let short = match character {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            // U+2028 and U+2029 end lines for some readers of event streams and logs.
            '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{2028}' | '\u{2029}' => "",
            _ => continue,
        };
        out.push_str(text.get(plain..at).unwrap_or_default());
        plain = at + character.len_utf8();
        if short.is_empty() {
            out.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            out.push_str(short);
        }
    }
    out.push_str(text.get(plain..).unwrap_or_default());
    out.push('"');
}

/// An error response. `data` is raw JSON that the caller vouches for; without `id` the id is null.
pub fn error(id: Option<&Id>, code: i64, message: &str, data: Option<&str>) -> Bytes {
    let mut out = String::with_capacity(96 + message.len() + data.map_or(0, str::len));
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    out.push_str(id.map_or("null", Id::as_json));
    out.push_str(r#","error":{"code":"#);
    out.push_str(&code.to_string());
    out.push_str(r#","message":"#);
    escape_into(&mut out, message);
    if let Some(data) = data {
        out.push_str(r#","data":"#);
        out.push_str(data);
    }
    out.push_str("}}");
    out.into()
}

/// A result response. `result` is a raw JSON object that the caller vouches for.
pub fn result(id: &Id, result: &str) -> Bytes {
    let mut out = String::with_capacity(48 + result.len());
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    out.push_str(id.as_json());
    out.push_str(r#","result":"#);
    out.push_str(result);
    out.push('}');
    out.into()
}

/// A request. `params` is a raw JSON object that the caller vouches for.
pub fn request(id: &Id, method: &Method, params: Option<&str>) -> Bytes {
    let mut out = String::with_capacity(80 + params.map_or(0, str::len));
    out.push_str(r#"{"jsonrpc":"2.0","id":"#);
    out.push_str(id.as_json());
    out.push(',');
    call_into(&mut out, method, params);
    out.into()
}

/// A notification. `params` is a raw JSON object that the caller vouches for.
pub fn notification(method: &Method, params: Option<&str>) -> Bytes {
    let mut out = String::with_capacity(80 + params.map_or(0, str::len));
    out.push_str(r#"{"jsonrpc":"2.0","#);
    call_into(&mut out, method, params);
    out.into()
}

fn call_into(out: &mut String, method: &Method, params: Option<&str>) {
    out.push_str(r#""method":"#);
    escape_into(out, method.as_str());
    if let Some(params) = params {
        out.push_str(r#","params":"#);
        out.push_str(params);
    }
    out.push('}');
}
