//! Change of the key that seals: every row is sealed again, and the old key is kept until that is done.
//!
//! The new key is on disk before the first row has it, and rows name the key they have, so a change that was cut off at any
//! step is brought to its end by the next start or the next try.

use keepgate_store::approvals::{ApprovalRow, DatabaseError, Resealed};

use crate::{Approvals, CallDigest, FrozenCall, KeyError, StoreKey};

/// Rows that are sealed again at a time; each may hold two megabytes.
const PAGE: u32 = if cfg!(test) { 1 } else { 16 };

/// Result of a change of the key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rekeyed {
    /// Id of the key of now.
    pub key: String,
    /// Requests that were sealed again.
    pub resealed: u64,
    /// Open requests that were cancelled, since the key they were sealed with is gone.
    pub cancelled: u64,
    /// Ended requests whose content nobody can read any more.
    pub unreadable: u64,
}

/// Reason the key was not changed, or not wholly: the next try goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RekeyError {
    /// A key could not be read or made.
    #[error("failed to change the key of the approvals store")]
    Key(#[from] KeyError),
    /// The store does not answer.
    #[error("failed to seal approvals again")]
    Store(#[from] DatabaseError),
    /// The system gave no random bytes.
    #[error("failed to seal an approval again: no random bytes")]
    Random,
}

impl Approvals {
    /// Makes a new key and seals everything with it. What the old key cannot open is cancelled if it was open. For when no
    /// call can come: a gateway that runs has the old key.
    ///
    /// # Errors
    /// [`RekeyError`]; the old key stays until a later try is done.
    pub async fn rekey(&self) -> Result<Rekeyed, RekeyError> {
        let (next, done) = self.reseal(usize::MAX).await?;
        self.0.store.use_key(next.id()).await?;
        StoreKey::promote_next(&self.0.directory)?;
        Ok(done)
    }

    /// A change that is cut off after so many pages.
    #[cfg(test)]
    pub(crate) async fn rekey_some(&self, pages: usize) -> Result<(), RekeyError> {
        self.reseal(pages).await.map(|_cut_off| ())
    }

    /// Seals so many pages with the next key.
    async fn reseal(&self, mut pages: usize) -> Result<(StoreKey, Rekeyed), RekeyError> {
        let directory = &self.0.directory;
        let old = match StoreKey::read(directory) {
            Ok(old) => old,
            // Lost for good: the new one replaces it.
            Err(KeyError::Malformed(_)) => None,
            Err(error @ (KeyError::File(_) | KeyError::Random(_))) => return Err(error.into()),
        };
        let next = StoreKey::make_next(directory)?;
        let mut done = Rekeyed {
            key: next.id().to_owned(),
            resealed: 0,
            cancelled: 0,
            unreadable: 0,
        };
        let totals = self.0.store.totals().await?;
        let mut tenants: Vec<_> = totals.into_iter().map(|(tenant, _, _)| tenant).collect();
        tenants.dedup();
        for tenant in tenants {
            let mut after: Box<str> = "".into();
            loop {
                let store = &self.0.store;
                let rows = store
                    .sealed_otherwise(&tenant, &after, next.id(), PAGE)
                    .await?;
                let Some(last) = rows.last().filter(|_| pages > 0) else {
                    break;
                };
                pages -= 1;
                after = (*last.id).into();
                self.change_rows(rows, old.as_ref(), &next, &mut done)
                    .await?;
            }
        }
        Ok((next, done))
    }

    async fn change_rows(
        &self,
        rows: Vec<ApprovalRow>,
        old: Option<&StoreKey>,
        next: &StoreKey,
        done: &mut Rekeyed,
    ) -> Result<(), RekeyError> {
        let mut changed = Vec::new();
        for row in rows {
            let plain = old.and_then(|old| old.open_row(&row.tenant, &row.id, &row.sealed));
            let call = plain
                .as_deref()
                .and_then(|plain| serde_json::from_slice::<FrozenCall>(plain).ok());
            let (Some(plain), Some(call)) = (plain, call) else {
                if row.state.is_open() {
                    self.finish(&row, None, ("key_lost", "")).await?;
                    done.cancelled += 1;
                } else {
                    done.unreadable += 1;
                }
                continue;
            };
            let sealed = next.seal(&row.tenant, &row.id, &plain);
            let resealed = Resealed {
                digest: CallDigest::of(next, &row.tenant, &call).0,
                caller: CallDigest::of_caller(next, &row.tenant, &call),
                key_id: next.id().into(),
                sealed: sealed.ok_or(RekeyError::Random)?,
            };
            changed.push((row, resealed));
        }
        let count = u64::try_from(changed.len()).unwrap_or(u64::MAX);
        self.0.store.reseal(changed).await?;
        done.resealed += count;
        Ok(())
    }
}
