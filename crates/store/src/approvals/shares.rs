//! Room for what has ended, shared by callers: where there is too much, the oldest goes of those who have most. A caller that asks a
//! thousand times loses its own history, and nobody else's.

use keepgate_call::Tenant;
use sqlx::{Row, sqlite::SqliteRow};

use super::{
    database::Database,
    rows::{digest, unsigned},
    statements as sql,
};
use crate::sql::{DatabaseError, failed, integer};

/// Callers looked at in one turn, those with most.
const CALLERS: i64 = 64;

/// The share down to which callers are cut, so that `excess` goes; `shares` are sorted, the largest first.
fn level(shares: &[u64], excess: u64) -> u64 {
    let mut sum = 0_u64;
    for (at, share) in shares.iter().enumerate() {
        sum = sum.saturating_add(*share);
        let count = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
        let next = shares.get(at + 1).copied().unwrap_or_default();
        if sum.saturating_sub(next.saturating_mul(count)) >= excess {
            return sum.saturating_sub(excess) / count;
        }
    }
    0
}

impl Database {
    pub(super) async fn prune_to(
        &mut self,
        tenant: &Tenant,
        bytes: u64,
        now_ms: u64,
        limit: u32,
    ) -> Result<u64, DatabaseError> {
        let totals = self.totals().await?.into_iter();
        let ended = totals.filter(|(of, state, _, _)| of == tenant && !state.is_open());
        let mut excess = ended
            .fold(0_u64, |sum, (_, _, _, bytes)| sum.saturating_add(bytes))
            .saturating_sub(bytes);
        if excess == 0 {
            return Ok(0);
        }
        let callers = self.shares(tenant).await?;
        let shares: Vec<_> = callers.iter().map(|(_, bytes)| *bytes).collect();
        let level = level(&shares, excess);
        let mut going = Vec::new();
        for (caller, share) in callers {
            let left = usize::try_from(limit).unwrap_or(usize::MAX) - going.len();
            if share <= level || left == 0 || excess == 0 {
                break;
            }
            let mut too_much = share.saturating_sub(level).min(excess);
            let over = self.over_of(tenant, &caller, now_ms, left).await?;
            going.extend(over.into_iter().map_while(|(id, bytes)| {
                let goes = too_much > 0;
                if goes {
                    too_much = too_much.saturating_sub(bytes);
                    excess = excess.saturating_sub(bytes);
                }
                goes.then_some(id)
            }));
        }
        self.remove(tenant, going.iter().map(|id| &**id)).await
    }

    /// The callers with most, and their bytes.
    async fn shares(&mut self, tenant: &Tenant) -> Result<Vec<([u8; 32], u64)>, DatabaseError> {
        let query = sqlx::query(sql::SHARES).bind(tenant.as_str()).bind(CALLERS);
        let found = query.fetch_all(&mut self.connection).await;
        let share = |row: &SqliteRow| Ok((digest(row, "caller")?, unsigned(row, "ended_bytes")?));
        let shares: Result<_, _> = found.map_err(failed("read"))?.iter().map(share).collect();
        shares.map_err(failed("understand"))
    }

    /// Oldest requests of a caller that have ended and may go, with their bytes.
    async fn over_of(
        &mut self,
        tenant: &Tenant,
        caller: &[u8; 32],
        now_ms: u64,
        limit: usize,
    ) -> Result<Vec<(Box<str>, u64)>, DatabaseError> {
        let query = sqlx::query(sql::OVER_OF_CALLER)
            .bind(tenant.as_str())
            .bind(&caller[..])
            .bind(integer(now_ms))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = query.fetch_all(&mut self.connection).await;
        let over = |row: &SqliteRow| {
            let id: String = row.try_get("id")?;
            Ok((id.into(), unsigned(row, "bytes")?))
        };
        let all: Result<_, _> = found.map_err(failed("read"))?.iter().map(over).collect();
        all.map_err(failed("understand"))
    }
}

#[cfg(test)]
mod tests {
    use super::level;

    #[test]
    fn those_who_have_most_are_cut_first() {
        let cases: [(&[u64], u64, u64); 8] = [
            (&[], 5, 0),
            (&[10], 4, 6),
            (&[10, 5], 4, 6),
            (&[10, 5], 5, 5),
            (&[10, 5], 7, 4),
            (&[10, 9, 1], 9, 5),
            (&[10, 9, 1], 19, 0),
            (&[10, 9, 1], 30, 0),
        ];
        for (shares, excess, expected) in cases {
            assert_eq!(level(shares, excess), expected, "{shares:?} {excess}");
            let cut = shares.iter().map(|share| share.saturating_sub(expected));
            let total: u64 = shares.iter().sum();
            assert!(cut.sum::<u64>() >= excess.min(total), "{shares:?} {excess}");
        }
    }
}
