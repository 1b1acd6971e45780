//! `crypto.sha256` and its kin. Digests are lower-case hexadecimal, of the text's UTF-8 bytes.
//!
//! SHA-1 is there for fingerprints that others made with it. MD5 is not.

use regorus::Value;
use ring::{digest, hmac};

use super::{Answer, text_at};

/// Longest text that is digested, in bytes.
const MAX_TEXT: usize = 4 * 1024 * 1024;

pub(super) fn sha1(values: &[Value]) -> Answer {
    digested(values, &digest::SHA1_FOR_LEGACY_USE_ONLY)
}

pub(super) fn sha256(values: &[Value]) -> Answer {
    digested(values, &digest::SHA256)
}

pub(super) fn hmac_sha1(values: &[Value]) -> Answer {
    signed(values, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY)
}

pub(super) fn hmac_sha256(values: &[Value]) -> Answer {
    signed(values, hmac::HMAC_SHA256)
}

pub(super) fn hmac_sha512(values: &[Value]) -> Answer {
    signed(values, hmac::HMAC_SHA512)
}

/// Whether two codes are the same, in a time that does not tell where they differ.
pub(super) fn equal(values: &[Value]) -> Answer {
    let (one, other) = (
        text_at(values, 0, MAX_TEXT)?.as_bytes(),
        text_at(values, 1, MAX_TEXT)?.as_bytes(),
    );
    let difference = one
        .iter()
        .zip(other)
        .fold(0, |all, (one, other)| all | (one ^ other));
    Ok(Value::Bool(one.len() == other.len() && difference == 0))
}

fn digested(values: &[Value], algorithm: &'static digest::Algorithm) -> Answer {
    let text = text_at(values, 0, MAX_TEXT)?;
    Ok(hexadecimal(
        digest::digest(algorithm, text.as_bytes()).as_ref(),
    ))
}

fn signed(values: &[Value], algorithm: hmac::Algorithm) -> Answer {
    let (text, key) = (text_at(values, 0, MAX_TEXT)?, text_at(values, 1, MAX_TEXT)?);
    let key = hmac::Key::new(algorithm, key.as_bytes());
    Ok(hexadecimal(hmac::sign(&key, text.as_bytes()).as_ref()))
}

/// Two digits a byte.
pub(super) fn hexadecimal(bytes: &[u8]) -> Value {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Value::from(digits.as_str())
}
