//! As much of DER (X.690) as public keys are written in.

use crate::public::PublicKey;
use crate::{SignatureAlgorithm, public::Family};

/// Algorithm identifiers without their outer tag: `id-ecPublicKey` with the curve (RFC 5480 §2.1), `rsaEncryption` with its
/// NULL (RFC 3279 §2.3.1), `id-Ed25519` (RFC 8410 §3).
const P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
const P384: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22,
];
const RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// Reads a `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) of the kind that `algorithm` needs. `None` for every other.
pub(crate) fn public_key(der: &[u8], algorithm: SignatureAlgorithm) -> Option<PublicKey> {
    let (whole, rest) = element(der, SEQUENCE)?;
    let (identifier, after) = element(whole, SEQUENCE)?;
    let (bits, end) = element(after, BIT_STRING)?;
    if !rest.is_empty() || !end.is_empty() {
        return None;
    }
    let key = bits.strip_prefix(&[0])?;
    let of_length = |length: usize| (key.len() == length).then(|| key.to_vec());
    match (Family::of(algorithm), identifier) {
        (Family::Rsa, RSA) => rsa(key),
        (Family::P256, P256) => of_length(65).map(PublicKey::P256),
        (Family::P384, P384) => of_length(97).map(PublicKey::P384),
        (Family::Ed25519, ED25519) => of_length(32).map(PublicKey::Ed25519),
        (Family::Rsa | Family::P256 | Family::P384 | Family::Ed25519, _) => None,
    }
}

/// Reads an `RSAPublicKey` (RFC 8017 §A.1.1).
pub(crate) fn rsa(der: &[u8]) -> Option<PublicKey> {
    let (whole, rest) = element(der, SEQUENCE)?;
    let (modulus, after) = element(whole, INTEGER)?;
    let (exponent, end) = element(after, INTEGER)?;
    // A leading zero only keeps the number positive.
    let bare = |number: &[u8]| number.strip_prefix(&[0]).unwrap_or(number).to_vec();
    (rest.is_empty() && end.is_empty()).then(|| PublicKey::Rsa {
        modulus: bare(modulus),
        exponent: bare(exponent),
    })
}

/// Splits off the content of the element with `tag` at the beginning. Lengths up to 65,535.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => {
            let (one, rest) = rest.split_first()?;
            (usize::from(*one), rest)
        }
        0x82 => {
            let (two, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*two)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
