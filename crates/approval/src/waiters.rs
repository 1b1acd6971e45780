//! Calls that are held until somebody decides: who is woken by which transition, and how many there may be.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use keepgate_call::{Principal, Tenant};
use tokio::sync::Notify;

/// Entries before those nobody waits for any more are looked for.
const SWEEP: usize = 64;

/// Key of an approval.
type Key = (Tenant, Arc<str>);

/// Those who wait for a transition, by approval.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<HashMap<Key, Weak<Notify>>>);

impl Waiters {
    /// Notified at the next transition of this approval.
    pub(crate) fn of(&self, tenant: &Tenant, id: &Arc<str>) -> Arc<Notify> {
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiters.len() >= SWEEP {
            waiters.retain(|_, waiter| waiter.strong_count() > 0);
        }
        let key = (tenant.clone(), Arc::clone(id));
        if let Some(waiter) = waiters.get(&key).and_then(Weak::upgrade) {
            return waiter;
        }
        let waiter = Arc::new(Notify::new());
        waiters.insert(key, Arc::downgrade(&waiter));
        waiter
    }

    /// Wakes those who wait for this approval.
    pub(crate) fn wake(&self, tenant: &Tenant, id: &Arc<str>) {
        let mut waiters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiter = waiters.remove(&(tenant.clone(), Arc::clone(id)));
        drop(waiters);
        if let Some(waiter) = waiter.and_then(|waiter| waiter.upgrade()) {
            waiter.notify_waiters();
        }
    }
}

/// The calls that are held, counted.
#[derive(Debug, Default)]
pub(crate) struct HeldCalls(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_caller: HashMap<Principal, usize>,
}

/// Place of a held call; given back when it is dropped.
#[derive(Debug)]
pub struct HeldPlace {
    held: Arc<HeldCalls>,
    caller: Principal,
}

impl HeldCalls {
    /// Takes a place, if fewer than these are taken by everybody and by the caller.
    pub(crate) fn enter(
        self: &Arc<Self>,
        caller: &Principal,
        (most, most_of_caller): (u32, u32),
    ) -> Option<HeldPlace> {
        let reaches =
            |count: usize, most: u32| u32::try_from(count).is_ok_and(|count| count >= most);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reaches(held.all, most) {
            return None;
        }
        let of_caller = held.by_caller.entry(caller.clone()).or_default();
        if reaches(*of_caller, most_of_caller) {
            return None;
        }
        *of_caller += 1;
        held.all += 1;
        drop(held);
        Some(HeldPlace {
            held: Arc::clone(self),
            caller: caller.clone(),
        })
    }

    /// Number of held calls.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        let mut held = self.held.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(1);
        if let Some(of_caller) = held.by_caller.get_mut(&self.caller) {
            *of_caller = of_caller.saturating_sub(1);
            if *of_caller == 0 {
                held.by_caller.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keepgate_call::{Caller, CallerKind, Proof, Tenant};

    use super::HeldCalls;

    #[test]
    fn held_calls_are_bounded_for_all_and_for_each_caller() {
        let held: Arc<HeldCalls> = Arc::default();
        let caller = |tenant, subject| {
            let proof = Proof::new(Tenant::new(tenant), CallerKind::Machine, subject);
            Caller::new(proof).principal().clone()
        };
        let (ann, bob, foreign) = (caller("a", "ann"), caller("a", "bob"), caller("b", "ann"));
        let first = held.enter(&ann, (3, 2));
        let second = held.enter(&ann, (3, 2));
        assert!(first.is_some() && second.is_some());
        assert!(held.enter(&ann, (3, 2)).is_none(), "of the caller");
        let third = held.enter(&foreign, (3, 2));
        assert!(third.is_some(), "another tenant's caller is another");
        assert!(held.enter(&bob, (3, 2)).is_none(), "of all");
        drop(first);
        assert_eq!(held.count(), 2);
        assert!(held.enter(&bob, (3, 2)).is_some());
        drop((second, third));
        assert_eq!(held.count(), 0);
        assert!(held.0.lock().expect("a lock").by_caller.is_empty());
    }
}
