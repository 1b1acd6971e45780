//! Signed tree heads (C2SP tlog-checkpoint in a C2SP signed-note).

use signed_note::{Note, StandardSigner};
use tlog_tiles::{Checkpoint, Hash};

use crate::key::PublicKey;

/// Longest checkpoint that is read.
const MAX_BYTES: usize = 64 << 10;

/// A tree head whose signature was checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

/// Why a note is no checkpoint of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoHead {
    /// Not a signed note, or not in the one form it is written in.
    #[error("it is not a signed note")]
    Malformed,
    /// The key given did not sign it.
    #[error("it is not signed by the key given")]
    Signature,
    /// It names another log.
    #[error("it is of another log")]
    Origin,
}

/// Signs a tree head. `None` when the origin cannot stand in a note, which opening the log has ruled out.
pub(crate) fn sign(
    origin: &str,
    size: u64,
    root: Hash,
    signer: &StandardSigner,
) -> Option<Vec<u8>> {
    let text = Checkpoint::new(origin, size, root, "").ok()?.to_bytes();
    let mut note = Note::new(&text, &[]).ok()?;
    note.add_sigs(&[signer]).ok()?;
    Some(note.to_bytes())
}

/// Checks a signed tree head of the log that `key` belongs to. Signatures of others (witnesses) may stand beside the key's.
pub(crate) fn open(note: &[u8], key: &PublicKey) -> Result<Head, NoHead> {
    if note.len() > MAX_BYTES {
        return Err(NoHead::Malformed);
    }
    let parsed = Note::from_bytes(note).map_err(|_malformed| NoHead::Malformed)?;
    if parsed.to_bytes() != note {
        return Err(NoHead::Malformed);
    }
    parsed
        .verify(&key.verifiers())
        .map_err(|_unsigned| NoHead::Signature)?;
    let checkpoint =
        Checkpoint::from_bytes(parsed.text()).map_err(|_malformed| NoHead::Malformed)?;
    if checkpoint.origin() != key.origin() {
        return Err(NoHead::Origin);
    }
    Ok(Head {
        size: checkpoint.size(),
        root: *checkpoint.hash(),
    })
}

/// The size a checkpoint claims, unchecked; for readers, who prove nothing.
pub(crate) fn claimed_size(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note).ok()?.lines().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_checkpoint_is_found() {
        let (secret, public) = signed_note::generate_key(&mut rand_core::OsRng, "gate.example/a");
        let signer = StandardSigner::new(&secret).unwrap();
        let key = PublicKey::parse(&public).unwrap();
        let root = tlog_tiles::record_hash(b"x");
        let note = sign("gate.example/a", 7, root, &signer).unwrap();
        assert_eq!(open(&note, &key), Ok(Head { size: 7, root }));
        assert_eq!(claimed_size(&note), Some(7));
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut flipped = note.clone();
                flipped[at] ^= 1 << bit;
                assert!(open(&flipped, &key).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_checkpoint_of_another_log_or_key_is_refused() {
        let (secret, public) = signed_note::generate_key(&mut rand_core::OsRng, "gate.example/a");
        let (_, other) = signed_note::generate_key(&mut rand_core::OsRng, "gate.example/a");
        let signer = StandardSigner::new(&secret).unwrap();
        let root = tlog_tiles::record_hash(b"x");
        let note = sign("gate.example/b", 7, root, &signer).unwrap();
        assert_eq!(
            open(&note, &PublicKey::parse(&public).unwrap()),
            Err(NoHead::Origin)
        );
        let note = sign("gate.example/a", 7, root, &signer).unwrap();
        assert_eq!(
            open(&note, &PublicKey::parse(&other).unwrap()),
            Err(NoHead::Signature)
        );
    }
}
