//! Event ids as they are handed out: sealed, so that nobody reads what the server wrote, and bound to the session and the
//! stream they came on.

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use keepgate_call::UpstreamId;
use keepgate_store::sessions::SessionDigest;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::row::RowKey;

/// Longest event id that is handed out, in bytes: it comes back in a header line, and some servers in front of a gateway take
/// few kilobytes of those.
pub const MAX_SEALED: usize = 512;
/// Kind and number of the stream an id came on.
const ORIGIN: usize = 9;
const TAG: usize = 16;
/// Random bytes of a nonce; the others count.
const PROCESS: usize = NONCE_LEN - 4;
/// Longest event id of a server that still fits, in bytes.
const MAX_UPSTREAM: usize = MAX_SEALED / 4 * 3 - NONCE_LEN - ORIGIN - TAG;

const OF_CALL: u8 = 1;
const OF_LISTENING: u8 = 2;

/// The stream an event id belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The answer of a call.
    Call(UpstreamId),
    /// A stream that only listens, by a number of its own.
    Listening(UpstreamId),
}

/// The key all seals of a gateway are made of. It shows nothing of itself.
#[derive(Clone)]
pub struct EventKey([u8; 32]);

impl EventKey {
    /// Bytes of a key.
    pub const LEN: usize = 32;

    /// The key with these bytes.
    pub fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// A key for as long as the process lives.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; Self::LEN];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The seal of the session with this digest.
    ///
    /// A key of its own for each session, so that no other session's seals open. A session may live in several processes, so a
    /// nonce is what is random of this one, and a count.
    pub(super) fn seal(&self, session: &SessionDigest) -> Option<Seal> {
        let key = blake3::keyed_hash(&self.0, session);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_bytes()).ok()?;
        let mut process = [0; PROCESS];
        getrandom::fill(&mut process).ok()?;
        Some(Seal {
            key: LessSafeKey::new(key),
            process,
            count: AtomicU32::new(0),
        })
    }

    /// The key rows of sessions are sealed with.
    pub(super) fn rows(&self) -> RowKey {
        RowKey::new(blake3::derive_key(
            "keepgate 2026 rows of sessions",
            &self.0,
        ))
    }
}

impl fmt::Debug for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventKey").finish_non_exhaustive()
    }
}

/// Seals and opens the event ids of one session.
pub(super) struct Seal {
    key: LessSafeKey,
    process: [u8; PROCESS],
    count: AtomicU32,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

impl Seal {
    /// The id `upstream` of an event on the stream `origin` as it is handed out; `None` for one that is too long, and
    /// for what comes after 2^32 others.
    pub(super) fn seal(&self, origin: Origin, upstream: &[u8]) -> Option<Bytes> {
        if upstream.len() > MAX_UPSTREAM {
            return None;
        }
        let mut nonce = [0; NONCE_LEN];
        let (process, count) = nonce.split_at_mut_checked(PROCESS)?;
        process.copy_from_slice(&self.process);
        let next = |count: u32| count.checked_add(1);
        let number = self
            .count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        count.copy_from_slice(&number.ok()?.to_le_bytes());
        let (kind, stream) = match origin {
            Origin::Call(id) => (OF_CALL, id),
            Origin::Listening(id) => (OF_LISTENING, id),
        };
        let mut sealed = Vec::with_capacity(NONCE_LEN + ORIGIN + upstream.len() + TAG);
        sealed.extend_from_slice(&nonce);
        sealed.push(kind);
        sealed.extend_from_slice(&stream.number().to_le_bytes());
        sealed.extend_from_slice(upstream);
        let plain = sealed.get_mut(NONCE_LEN..)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::empty(), plain);
        sealed.extend_from_slice(tag.ok()?.as_ref());
        Some(URL_SAFE_NO_PAD.encode(sealed).into())
    }

    /// The stream and the server's own id inside a sealed one; `None` if this session did not seal it.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<(Origin, Bytes)> {
        if sealed.len() > MAX_SEALED {
            return None;
        }
        let mut sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, held) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.key.open_in_place(nonce, Aad::empty(), held).ok()?;
        let (origin, upstream) = plain.split_at_checked(ORIGIN)?;
        let (kind, stream) = origin.split_first()?;
        let stream = UpstreamId::new(u64::from_le_bytes(stream.try_into().ok()?));
        let origin = match *kind {
            OF_CALL => Origin::Call(stream),
            OF_LISTENING => Origin::Listening(stream),
            _ => return None,
        };
        Some((origin, Bytes::copy_from_slice(upstream)))
    }
}

#[cfg(test)]
mod tests {
    use super::{EventKey, MAX_SEALED, MAX_UPSTREAM, Origin, Seal};
    use bytes::Bytes;
    use keepgate_call::UpstreamId;

    fn seal(key: u8, session: &str) -> Seal {
        EventKey::new([key; 32])
            .seal(blake3::hash(session.as_bytes()).as_bytes())
            .unwrap()
    }

    fn origin() -> Origin {
        Origin::Call(UpstreamId::new(7))
    }

    #[test]
    fn a_seal_opens_in_its_session_alone_and_says_where_it_came_from() {
        let own = seal(1, "one");
        for origin in [origin(), Origin::Listening(UpstreamId::new(7))] {
            for upstream in ["", "upstream-1", "ünï", &"x".repeat(MAX_UPSTREAM)] {
                let sealed = own.seal(origin, upstream.as_bytes()).unwrap();
                assert!(sealed.len() <= MAX_SEALED, "{}", sealed.len());
                assert!(
                    upstream.is_empty() || !String::from_utf8_lossy(&sealed).contains(upstream)
                );
                let opened = own.open(&sealed).unwrap();
                assert_eq!(
                    opened,
                    (origin, Bytes::copy_from_slice(upstream.as_bytes()))
                );
                // Another run with the same key knows it as well; another session, or another gateway, does not.
                assert!(seal(1, "one").open(&sealed).is_some());
                assert!(seal(1, "two").open(&sealed).is_none());
                assert!(seal(2, "one").open(&sealed).is_none());
            }
        }
        assert!(own.seal(origin(), &[b'x'; MAX_UPSTREAM + 1]).is_none());
    }

    #[test]
    fn a_changed_seal_does_not_open() {
        let own = seal(1, "one");
        let sealed = own.seal(origin(), b"upstream-1").unwrap();
        for at in 0..sealed.len() {
            assert!(own.open(&sealed[..at]).is_none(), "cut at {at}");
            assert!(own.open(&sealed[at + 1..]).is_none(), "begun after {at}");
            for other in [b'A', b'_', b'=', b' ', sealed[at] ^ 1] {
                let mut flipped = sealed.to_vec();
                flipped[at] = other;
                let opened = own.open(&flipped);
                assert!(opened.is_none() || flipped == *sealed, "flipped at {at}");
            }
        }
        let longer = [&sealed[..], b"AAAA"].concat();
        assert!(own.open(&longer).is_none());
        assert!(own.open(&vec![b'A'; MAX_SEALED + 4]).is_none());
        // The same event is never sealed in the same bytes twice.
        assert_ne!(own.seal(origin(), b"upstream-1").unwrap(), sealed);
    }
}
