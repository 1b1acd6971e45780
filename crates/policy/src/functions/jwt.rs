//! `io.jwt.decode`: reads a token and verifies nothing.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regorus::Value;

use super::crypto::hexadecimal;
use super::{Answer, text_at};
use crate::json;

/// Longest token, in bytes.
const MAX_TOKEN: usize = 64 * 1024;
/// Tokens within tokens.
const MAX_NESTED: usize = 8;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// `[header, payload, signature]`, the signature in hexadecimal. A token whose `cty` says that it holds a token is
/// read through to the innermost. Stricter than OPA in one point: a header or payload with a key twice is refused.
pub(super) fn decode(values: &[Value]) -> Answer {
    let mut token = text_at(values, 0, MAX_TOKEN)?.to_owned();
    for _ in 0..MAX_NESTED {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else {
            return Err(format!("a token has 3 sections, not {}", parts.len()));
        };
        let header = object(header, "header")?;
        if header["enc"] != Value::Undefined {
            return Err("the token is encrypted".to_owned());
        }
        let payload = bytes(payload, "payload")?;
        let payload = std::str::from_utf8(&payload).map_err(|_| "the payload is not UTF-8")?;
        let inner = match &header["cty"] {
            Value::String(kind) if kind.eq_ignore_ascii_case("jwt") => nested(payload),
            Value::String(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Set(_)
            | Value::Object(_)
            | Value::Undefined => None,
        };
        if let Some(inner) = inner {
            token = inner;
            continue;
        }
        let payload = json::parse(payload).map_err(|error| format!("the payload: {error}"))?;
        if payload.as_object().is_err() {
            return Err("the payload is no object".to_owned());
        }
        let signature = hexadecimal(&bytes(signature, "signature")?);
        return Ok(Value::from(vec![header, payload, signature]));
    }
    Err(format!("more than {MAX_NESTED} tokens in each other"))
}

/// The token a payload holds: as a JSON text, or as it is.
fn nested(payload: &str) -> Option<String> {
    match json::parse(payload) {
        Ok(Value::String(inner)) => Some(inner.to_string()),
        Ok(_) => None,
        Err(_) => Some(payload.to_owned()),
    }
}

fn object(section: &str, what: &str) -> Answer {
    let bytes = bytes(section, what)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("the {what} is not UTF-8"))?;
    match json::parse(text) {
        Ok(value) if value.as_object().is_ok() => Ok(value),
        Ok(_) => Err(format!("the {what} is no object")),
        Err(error) => Err(format!("the {what}: {error}")),
    }
}

fn bytes(section: &str, what: &str) -> Result<Vec<u8>, String> {
    BASE64
        .decode(section)
        .map_err(|_| format!("the {what} is not base64url"))
}
