//! One budget for everything peers have the gateway hold: so many peers with so much each cannot add up to more than there is.
//!
//! Of messages ([`Share`]) what is small is not counted; the number of calls bounds that. What stays when its message is gone
//! ([`Charge`]) is counted to the byte.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

/// What is not counted: one read of a connection.
const SMALL: usize = 16 * 1024;

/// So many bytes for all. Clones share them.
#[derive(Clone, Default)]
pub struct Budget(Option<Arc<AtomicUsize>>);

/// A part of a budget; given back when it is dropped.
pub struct Share {
    budget: Budget,
    taken: usize,
}

/// A part of a budget for what stays: every byte counts. Given back when it is dropped.
pub struct Charge {
    budget: Budget,
    taken: usize,
}

/// Bytes, and the share that was taken for them; not tied to each other yet, so that who alone has the bytes may change them in
/// place.
#[derive(Debug)]
pub struct Weighed {
    bytes: Bytes,
    share: Share,
}

/// The budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the memory for messages is full")]
pub struct Spent;

impl Budget {
    /// A budget of so many bytes. The default has no end.
    pub fn new(bytes: usize) -> Self {
        Self(Some(Arc::new(AtomicUsize::new(bytes))))
    }

    /// The bytes that are left; `None` without end.
    pub fn left(&self) -> Option<usize> {
        self.0.as_ref().map(|left| left.load(Ordering::Relaxed))
    }

    /// A share of nothing yet.
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            taken: 0,
        }
    }

    /// A charge of nothing yet.
    pub fn charge(&self) -> Charge {
        Charge {
            budget: self.clone(),
            taken: 0,
        }
    }

    fn give_back(&self, bytes: usize) {
        if let Some(left) = &self.0 {
            left.fetch_add(bytes, Ordering::AcqRel);
        }
    }

    fn take(&self, bytes: usize) -> Result<(), Spent> {
        let Some(left) = &self.0 else { return Ok(()) };
        left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            left.checked_sub(bytes)
        })
        .map(|_before| ())
        .map_err(|_left| Spent)
    }
}

impl Charge {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`Spent`]; the charge stays as it was.
    pub fn add(&mut self, bytes: usize) -> Result<(), Spent> {
        self.budget.take(bytes)?;
        self.taken = self.taken.saturating_add(bytes);
        Ok(())
    }

    /// Gives back `bytes` of what was taken, or all that was.
    pub fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.taken);
        self.taken -= bytes;
        self.budget.give_back(bytes);
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        self.taken
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give_back(self.taken);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge")
            .field("taken", &self.taken)
            .finish()
    }
}

impl Share {
    /// Takes what is missing to hold `bytes` in all.
    ///
    /// # Errors
    /// [`Spent`]; the share stays as it was.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Spent> {
        if bytes <= SMALL || bytes <= self.taken {
            return Ok(());
        }
        self.budget.take(bytes - self.taken)?;
        self.taken = bytes;
        Ok(())
    }

    /// Holds `bytes` in all from now on: takes what is missing, gives back what is too much.
    ///
    /// # Errors
    /// [`Spent`]; the share stays as it was.
    pub fn fit(&mut self, bytes: usize) -> Result<(), Spent> {
        let wanted = if bytes <= SMALL { 0 } else { bytes };
        if wanted >= self.taken {
            return self.grow(wanted);
        }
        if let Some(left) = &self.budget.0 {
            left.fetch_add(self.taken - wanted, Ordering::AcqRel);
        }
        self.taken = wanted;
        Ok(())
    }

    /// Ties the share to what it was taken for: it is given back with the last clone of the bytes.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        if self.taken == 0 {
            return bytes;
        }
        Bytes::from_owner(Held {
            bytes,
            _share: self,
        })
    }
}

impl Weighed {
    /// Bytes and what was taken for them.
    pub(crate) fn new(bytes: Bytes, share: Share) -> Self {
        Self { bytes, share }
    }

    /// The bytes, tied to their share.
    pub fn tied(self) -> Bytes {
        self.share.hold(self.bytes)
    }

    /// The bytes and their share, for who ties them later.
    pub fn apart(self) -> (Bytes, Share) {
        (self.bytes, self.share)
    }
}

impl Deref for Weighed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(left) = &self.budget.0 {
            left.fetch_add(self.taken, Ordering::AcqRel);
        }
    }
}

struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("left", &self.left())
            .finish()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("taken", &self.taken).finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Budget, SMALL, Spent};

    #[test]
    fn what_is_taken_is_given_back_with_the_last_clone() {
        let budget = Budget::new(100_000);
        let mut share = budget.share();
        share.grow(60_000).unwrap();
        let held = share.hold(Bytes::from(vec![7; 60_000]));
        assert_eq!(budget.left(), Some(40_000));
        let mut other = budget.share();
        assert_eq!(other.grow(40_001), Err(Spent));
        other.grow(30_000).unwrap();
        other.grow(40_000).unwrap();
        assert_eq!(budget.left(), Some(0));
        drop(other);
        let part = held.slice(1..3);
        drop(held);
        assert_eq!(budget.left(), Some(40_000));
        drop(part);
        assert_eq!(budget.left(), Some(100_000));
    }

    #[test]
    fn what_stays_is_counted_to_the_byte() {
        let budget = Budget::new(10);
        let mut charge = budget.charge();
        charge.add(4).unwrap();
        assert_eq!(charge.add(7), Err(Spent));
        charge.add(6).unwrap();
        assert_eq!((charge.bytes(), budget.left()), (10, Some(0)));
        drop(charge);
        assert_eq!(budget.left(), Some(10));
    }

    #[test]
    fn what_is_small_passes_when_all_is_spent() {
        let budget = Budget::new(0);
        let mut share = budget.share();
        share.grow(SMALL).unwrap();
        assert_eq!(share.grow(SMALL + 1), Err(Spent));
        Budget::default().share().grow(usize::MAX).unwrap();
    }
}
