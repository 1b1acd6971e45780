//! The form of an API key, `kg_<id>_<secret>`, and its keyed hash.
//!
//! The id finds the key, the secret proves it. Only the hash is kept, keyed with a secret of this gateway: someone who
//! reads the key file can neither use a key nor test a guess without the other file.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, Zeroizing};

/// What every key starts with, so that secret scanners can find a leaked one.
pub(crate) const PREFIX: &[u8] = b"kg_";
/// Letters of the id: 8 random bytes in lower-case hexadecimal.
const ID_LENGTH: usize = 16;
/// Letters of the secret: 32 random bytes in unpadded base64url.
const SECRET_LENGTH: usize = 43;
/// Bytes of the hash and of the key it is made with.
const DIGEST_LENGTH: usize = 32;

/// The public half of a key, as it stands in lists and logs.
pub(crate) type KeyId = [u8; ID_LENGTH];

/// A keyed hash of a whole key.
pub(crate) type Digest = [u8; DIGEST_LENGTH];

/// Random bytes could not be had; no key is made without them.
#[derive(Debug, thiserror::Error)]
#[error("failed to read random bytes from the system")]
pub struct RandomError(#[source] getrandom::Error);

/// The gateway's own secret that keys the hashes. Not printable, wiped when dropped.
pub(crate) struct Pepper(Zeroizing<Digest>);

impl std::fmt::Debug for Pepper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Pepper(..)")
    }
}

impl Pepper {
    /// Takes exactly 32 bytes; `None` for any other length.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// Fresh bytes for a pepper.
    pub(crate) fn generate() -> Result<Zeroizing<Vec<u8>>, RandomError> {
        let mut bytes = Zeroizing::new(vec![0; DIGEST_LENGTH]);
        getrandom::fill(&mut bytes).map_err(RandomError)?;
        Ok(bytes)
    }

    /// Hash of what a caller presented: one BLAKE3 block.
    pub(crate) fn digest(&self, presented: &Presented<'_>) -> Digest {
        *blake3::keyed_hash(&self.0, presented.hashed).as_bytes()
    }
}

/// A key as a caller sent it: well formed, nothing more.
pub(crate) struct Presented<'a> {
    /// Which key the caller says it is.
    pub(crate) id: KeyId,
    /// Id and secret, the bytes under the hash.
    hashed: &'a [u8],
}

impl<'a> Presented<'a> {
    /// Reads `kg_<id>_<secret>`; `None` for every other text.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let hashed = text.strip_prefix(PREFIX)?;
        let (id, rest) = hashed.split_first_chunk::<ID_LENGTH>()?;
        let secret = rest.strip_prefix(b"_")?;
        let hexadecimal = id
            .iter()
            .all(|letter| matches!(letter, b'0'..=b'9' | b'a'..=b'f'));
        let base64 = secret
            .iter()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_'));
        (hexadecimal && base64 && secret.len() == SECRET_LENGTH).then_some(Self { id: *id, hashed })
    }
}

/// A fresh key in full. Shown once, never stored.
pub(crate) fn generate() -> Result<Zeroizing<String>, RandomError> {
    let mut id = [0_u8; ID_LENGTH / 2];
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut id).map_err(RandomError)?;
    getrandom::fill(&mut secret).map_err(RandomError)?;
    let mut encoded = URL_SAFE_NO_PAD.encode(secret);
    let key = Zeroizing::new(format!("kg_{}_{encoded}", hexadecimal(&id)));
    secret.zeroize();
    encoded.zeroize();
    Ok(key)
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            for nibble in [byte >> 4, byte & 0x0f] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
            text
        })
}

/// A digest from its hexadecimal form; `None` for every other text.
pub(crate) fn digest_from_hexadecimal(text: &str) -> Option<Digest> {
    let mut digest = [0; DIGEST_LENGTH];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != DIGEST_LENGTH || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let high = char::from(*high).to_digit(16)?;
        let low = char::from(*low).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_has_the_documented_form() {
        let key = generate().unwrap();
        assert_eq!(key.len(), 3 + ID_LENGTH + 1 + SECRET_LENGTH);
        assert!(Presented::parse(key.as_bytes()).is_some());
        assert_ne!(key, generate().unwrap());
    }

    #[test]
    fn other_texts_are_no_keys() {
        let id = "0123456789abcdef";
        let secret = "A".repeat(SECRET_LENGTH);
        assert!(Presented::parse(format!("kg_{id}_{secret}").as_bytes()).is_some());
        for text in [
            String::new(),
            "kg_".to_owned(),
            format!("KG_{id}_{secret}"),
            format!("kg_{id}{secret}_"),
            format!("kg_{id}_{secret}A"),
            format!("kg_{id}_{}", &secret[1..]),
            format!("kg_{}_{secret}", id.to_uppercase()),
            format!("kg_{id}_{}+", &secret[1..]),
            format!(" kg_{id}_{secret}"),
            format!("kg_{id}_{secret}\n"),
        ] {
            assert!(Presented::parse(text.as_bytes()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn digests_survive_the_file() {
        let digest: Digest = std::array::from_fn(|index| u8::try_from(index * 7).unwrap());
        assert_eq!(digest_from_hexadecimal(&hexadecimal(&digest)), Some(digest));
        assert_eq!(digest_from_hexadecimal(&hexadecimal(&digest[1..])), None);
        assert_eq!(
            digest_from_hexadecimal(&format!("{}zz", hexadecimal(&digest[1..]))),
            None
        );
    }
}
