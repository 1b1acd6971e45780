//! Tables that a call looks into: keyed at random in each process like those of `std`, since peers choose many of the keys, but
//! hashed with AES rounds instead of SipHash; a call hashes about thirty times.

/// [`std::collections::HashMap`] under that hash.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, ahash::RandomState>;
