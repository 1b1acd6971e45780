//! A secret value: readable where it is used, and nowhere by accident.

use zeroize::Zeroizing;

/// The longest secret, in bytes: what a header line can carry.
pub const LONGEST: usize = 8 * 1024;

/// The shortest secret, in bytes. A shorter one could not be told from honest text in an answer, so it cannot be masked.
pub const SHORTEST: usize = 8;

/// A secret. It cannot be printed, compared, cloned or serialised, and its memory is overwritten when it is dropped.
///
/// What it was read from (a Vault answer, a file) is overwritten too. A copy that leaves the process (a header line in a
/// TLS record, the environment of a child) is out of reach.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes over bytes; they are overwritten when the secret is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The value, for the one place that uses it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text; `None` if it is no UTF-8.
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Hands the memory over, so that what holds the bytes (a header value) overwrites them when it is dropped.
impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        self.expose()
    }
}
