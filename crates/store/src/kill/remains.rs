//! The scope that kills have not reached yet: calls that have not ended, processes that live, leases that are not revoked.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// Age from which a kill whose enforcement nobody has confirmed counts as partial.
const CONFIRMED: Duration = Duration::from_secs(1);

/// The part of a kill's scope that it has not reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// Calls and streams that were cut and have not ended.
    pub calls: usize,
    /// Processes that could not be proven dead.
    pub processes: usize,
    /// References of leases that are not revoked, one for each lease.
    pub leases: Vec<Arc<str>>,
    /// Whether nobody has reported yet what there is.
    pub unconfirmed: bool,
}

impl Remains {
    /// Whether the kill did all it is for.
    pub fn is_complete(&self) -> bool {
        *self == Self::default()
    }

    /// A description of the remainder, for operators and records.
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        if self.calls > 0 {
            parts.push(format!("{} calls or streams have not ended", self.calls));
        }
        if self.processes > 0 {
            parts.push(format!(
                "{} processes of child servers could not be ended",
                self.processes
            ));
        }
        if !self.leases.is_empty() {
            let mut references = self.leases.clone();
            references.sort();
            references.dedup();
            parts.push(format!(
                "{} leases are not revoked ({})",
                self.leases.len(),
                references.join(", ")
            ));
        }
        if self.unconfirmed {
            parts.push("sessions, processes and leases are still being ended".to_owned());
        }
        parts.join("; ")
    }
}

/// The kills that are partial. Bounded by the number of active kills, and each leaves when it is complete.
#[derive(Debug, Default)]
pub(super) struct Partial(watch::Sender<BTreeMap<Arc<str>, (Instant, Remains)>>);

impl Partial {
    /// A kill is set that somebody will report on.
    pub(super) fn begin(&self, id: &Arc<str>) {
        let remains = Remains {
            unconfirmed: true,
            ..Remains::default()
        };
        self.0.send_modify(|partial| {
            partial.insert(Arc::clone(id), (Instant::now(), remains));
        });
    }

    pub(super) fn report(&self, id: &Arc<str>, remains: Remains) {
        self.0.send_modify(|partial| {
            if remains.is_complete() {
                partial.remove(id);
            } else if let Some((_, known)) = partial.get_mut(id) {
                *known = remains;
            }
        });
    }

    /// Waits for the report on a kill, at most `patience`.
    pub(super) async fn settled(&self, id: &str, patience: Duration) -> Remains {
        let mut partial = self.0.subscribe();
        let confirmed = partial.wait_for(|partial| {
            partial
                .get(id)
                .is_none_or(|(_, remains)| !remains.unconfirmed)
        });
        // Without a report in time, the answer is the state so far.
        let _in_time = tokio::time::timeout(patience, confirmed).await.is_ok();
        self.of(id)
    }

    pub(super) fn of(&self, id: &str) -> Remains {
        let partial = self.0.borrow();
        let remains = partial.get(id).map(|(_, remains)| remains.clone());
        remains.unwrap_or_default()
    }

    /// Every kill that is partial, but for those that were set just now.
    pub(super) fn all(&self) -> BTreeMap<Arc<str>, Remains> {
        let partial = self.0.borrow();
        let due = partial
            .iter()
            .filter(|(_, (since, remains))| !remains.unconfirmed || since.elapsed() > CONFIRMED);
        due.map(|(id, (_, remains))| (Arc::clone(id), remains.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kill_is_partial_until_it_is_reported_complete() {
        let partial = Partial::default();
        let id: Arc<str> = "k_1".into();
        assert!(partial.of(&id).is_complete());
        partial.begin(&id);
        assert!(partial.settled(&id, Duration::ZERO).await.unconfirmed);
        assert!(partial.all().is_empty(), "it was set just now");
        let left = Remains {
            calls: 1,
            processes: 2,
            leases: vec!["vault:a#b".into(), "vault:a#b".into()],
            unconfirmed: false,
        };
        partial.report(&id, left.clone());
        assert_eq!(partial.settled(&id, Duration::from_secs(60)).await, left);
        assert_eq!(partial.all().get(&id), Some(&left));
        assert_eq!(
            left.describe(),
            "1 calls or streams have not ended; 2 processes of child servers could not be ended; \
             2 leases are not revoked (vault:a#b)"
        );
        partial.report(&id, Remains::default());
        assert!(partial.settled(&id, Duration::ZERO).await.is_complete());
        assert!(partial.all().is_empty());
    }
}
