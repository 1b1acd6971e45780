//! JSON Object Signing and Encryption, as far as it is used here: signatures in the compact form of JWS (RFC 7515 §7.1), the
//! algorithms of RFC 7518 §3.1 and RFC 8037, key sets (RFC 7517) and keys in PEM files (RFC 7468).
//!
//! A library was looked for: those with a choice of cryptography bring aws-lc or RustCrypto, and this house has `ring`.
//! Nothing in a token is believed here: the caller chooses the key, and a key has its own algorithm or its own kind.

mod algorithm;
mod compact;
mod der;
mod jwk;
mod mac;
mod pem;
mod public;

pub use algorithm::{Algorithm, MacAlgorithm, SignatureAlgorithm};
pub use compact::{Compact, Header, MalformedToken, UnreadableHeader, encode};
pub use jwk::{Jwk, KeySet, MAX_KEYS, MAX_SET_BYTES};
pub use mac::hmac_sha256;
pub use pem::{KeyError, SigningKey, VerifyingKey};
