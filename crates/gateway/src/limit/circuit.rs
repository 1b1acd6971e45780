//! Circuit breakers of servers: each caller has one of its own, and only what speaks for the server opens it for all.
//!
//! A failure that one caller sees may be its own doing: an argument that hangs a tool, a request that makes the server reset
//! connections. So its failures open its own breaker, and the breaker of all opens when a second caller's opens too, when
//! no other caller has used the server for a minute, or when the gateway itself cannot connect.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use keepgate_call::{HalfOpen, Principal, ServerName, Tenant};

use super::breaker::{Breaker, Breakers, Opinion, Trial};

use crate::hash::HashMap;

/// Time for which a caller counts as using a server, and its open breaker as evidence.
const MINUTE: Duration = Duration::from_secs(60);

/// A caller at a server.
type OfCaller = (Principal, ServerName);
/// A server, as the callers of one tenant see it.
type OfAll = (Tenant, ServerName);

/// The circuit breakers of all servers.
#[derive(Debug, Default)]
pub struct Circuits {
    callers: Breakers<OfCaller>,
    all: Breakers<OfAll>,
    /// Bounded by the servers there are: a caller's breaker opens at a configured one only.
    suspected: Mutex<HashMap<OfAll, Suspicion>>,
    suspicions: AtomicUsize,
}

/// Evidence against one server.
#[derive(Debug, Default)]
struct Suspicion {
    /// The callers whose breakers are open, and until when that counts. Two are proof, so never more.
    callers: Vec<(Principal, Instant)>,
    /// Whether a task is probing the server.
    probing: bool,
}

/// The keys of one call; the breakers are looked up by them.
#[derive(Debug)]
pub struct Keys {
    caller: OfCaller,
    all: OfAll,
}

/// Leave to call a server.
#[derive(Debug)]
pub struct Admitted<'a> {
    circuits: &'a Circuits,
    keys: &'a Keys,
    settings: Breaker,
    caller: Trial<'a, OfCaller>,
    all: Trial<'a, OfAll>,
}

/// A server that the gateway should probe, because one caller's breaker opened and nothing else is known.
#[derive(Debug, Clone)]
pub struct Suspect(OfAll);

impl Suspect {
    /// The server.
    pub fn server(&self) -> &ServerName {
        &self.0.1
    }
}

impl Keys {
    /// The keys of a call of `principal` to `server`.
    pub fn new(principal: &Principal, tenant: &Tenant, server: &ServerName) -> Self {
        Self {
            caller: (principal.clone(), server.clone()),
            all: (tenant.clone(), server.clone()),
        }
    }
}

impl Circuits {
    /// Asks for leave.
    ///
    /// # Errors
    /// The time to wait, when the breaker of the caller or that of all is open.
    pub fn admit<'a>(
        &'a self,
        keys: &'a Keys,
        settings: Breaker,
        tries: &'a HalfOpen,
    ) -> Result<Admitted<'a>, Duration> {
        Ok(Admitted {
            caller: self.callers.admit(&keys.caller, settings, &tries.caller)?,
            all: self.all.admit(&keys.all, settings, &tries.all)?,
            circuits: self,
            keys,
            settings,
        })
    }

    /// Lets other calls try while this one waits.
    pub fn lend(&self, keys: &Keys, tries: &HalfOpen) {
        self.callers.lend(&keys.caller, &tries.caller);
        self.all.lend(&keys.all, &tries.all);
    }

    /// Asks for leave again, for a call that has waited.
    ///
    /// # Errors
    /// The time to wait.
    pub fn take_back(&self, keys: &Keys, tries: &HalfOpen) -> Result<(), Duration> {
        self.callers.take_back(&keys.caller, &tries.caller)?;
        self.all.take_back(&keys.all, &tries.all)
    }

    /// As [`Self::admit`], for what has no opinion of the server: it must not take the place of the one call that tries.
    ///
    /// # Errors
    /// The time to wait.
    pub fn check(&self, keys: &Keys) -> Result<(), Duration> {
        self.callers.check(&keys.caller)?;
        self.all.check(&keys.all)
    }

    /// Number of servers whose breaker is open for all.
    pub fn open(&self) -> usize {
        self.all.open()
    }

    /// Number of breakers that are open for one caller.
    pub fn open_for_callers(&self) -> usize {
        self.callers.open()
    }

    /// A probe of the gateway failed: nobody can reach the server.
    pub fn unreachable(&self, suspect: &Suspect, settings: Breaker) {
        self.all.open_now(&suspect.0, settings);
    }

    /// Whether a caller's breaker still counts against the server. If none does, its probing is over.
    pub fn is_suspected(&self, suspect: &Suspect) -> bool {
        let mut all = self.suspected();
        let Some(suspicion) = all.get_mut(&suspect.0) else {
            return false;
        };
        suspicion.prune(Instant::now());
        if suspicion.callers.is_empty() {
            all.remove(&suspect.0);
            self.suspicions.store(all.len(), Ordering::Release);
            return false;
        }
        true
    }

    /// Weighs a caller's breaker that has just opened.
    fn suspect(&self, keys: &Keys, settings: Breaker, alone: bool) -> Option<Suspect> {
        let now = Instant::now();
        let proven = {
            let mut all = self.suspected();
            let suspicion = all.entry(keys.all.clone()).or_default();
            suspicion.prune(now);
            let until = now + settings.open_for + MINUTE;
            let caller = &keys.caller.0;
            suspicion.callers.retain(|(who, _)| who != caller);
            if suspicion.callers.len() < 2 {
                suspicion.callers.push((caller.clone(), until));
            }
            let proven = alone || suspicion.callers.len() >= 2;
            let probes = !proven && !suspicion.probing;
            suspicion.probing |= probes;
            self.suspicions.store(all.len(), Ordering::Release);
            if probes {
                return Some(Suspect(keys.all.clone()));
            }
            proven
        };
        if proven {
            self.all.open_now(&keys.all, settings);
        }
        None
    }

    /// The caller reaches the server: its breaker is no evidence any more.
    fn acquit(&self, keys: &Keys) {
        if self.suspicions.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(suspicion) = self.suspected().get_mut(&keys.all) {
            suspicion.callers.retain(|(who, _)| *who != keys.caller.0);
        }
    }

    fn suspected(&self) -> MutexGuard<'_, HashMap<OfAll, Suspicion>> {
        // Plain data that each holder leaves whole.
        let all = self.suspected.lock();
        all.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Suspicion {
    fn prune(&mut self, now: Instant) {
        self.callers.retain(|(_, until)| *until > now);
    }
}

impl Admitted<'_> {
    /// Reports the outcome. `alone` is asked only when the caller's breaker opens: whether no other caller has used the
    /// server for a minute. Gives the server if it should be probed.
    pub fn report(self, opinion: Opinion, alone: impl FnOnce() -> bool) -> Option<Suspect> {
        match opinion {
            Opinion::Good => {
                self.caller.opine(Opinion::Good);
                self.all.opine(Opinion::Good);
                self.circuits.acquit(self.keys);
                None
            }
            Opinion::Bad => {
                // A failed trial opens the breaker of all again; another caller's single failure is no evidence.
                let tries = self.all.is_trying();
                self.all
                    .opine(if tries { Opinion::Bad } else { Opinion::None });
                if !self.caller.opine(Opinion::Bad) {
                    return None;
                }
                self.circuits.suspect(self.keys, self.settings, alone())
            }
            Opinion::None => None,
        }
    }
}

/// The last two callers of one server that reached it, and when: enough to know whether one is alone. Written by every
/// call without a lock; what two writers make of it at worst is that a caller seems alone, or not, for a moment.
#[derive(Debug, Default)]
pub struct LastCallers([LastCaller; 2]);

#[derive(Debug, Default)]
struct LastCaller {
    /// A keyed hash of the principal; zero for nobody.
    who: AtomicU64,
    /// Seconds of the clock the callers of this share.
    at_s: AtomicU64,
}

impl LastCallers {
    /// Notes a call of `who`.
    pub fn note(&self, who: u64, now_s: u64) {
        let [first, second] = &self.0;
        let known = [first, second]
            .into_iter()
            .find(|slot| slot.who.load(Ordering::Relaxed) == who);
        let slot = known.unwrap_or_else(|| {
            let older = first.at_s.load(Ordering::Relaxed) <= second.at_s.load(Ordering::Relaxed);
            let slot = if older { first } else { second };
            slot.who.store(who, Ordering::Relaxed);
            slot
        });
        // Most calls fall into the second of the one before: then nothing is written, and no cache line moves.
        if slot.at_s.load(Ordering::Relaxed) != now_s {
            slot.at_s.store(now_s, Ordering::Relaxed);
        }
    }

    /// Whether nobody but `who` called within the last minute.
    pub fn is_alone(&self, who: u64, now_s: u64) -> bool {
        self.0.iter().all(|slot| {
            let other = slot.who.load(Ordering::Relaxed);
            let since = now_s.saturating_sub(slot.at_s.load(Ordering::Relaxed));
            other == 0 || other == who || since > MINUTE.as_secs()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use keepgate_call::{Caller, CallerKind, HalfOpen, Proof, ServerName, Tenant};

    use super::{Breaker, Circuits, Keys, LastCallers, Opinion};

    const THREE: Breaker = Breaker {
        failures: NonZeroU32::new(3).unwrap(),
        open_for: Duration::from_secs(3600),
    };

    fn keys(who: &str) -> Keys {
        let tenant = Tenant::new("t");
        let caller = Caller::new(Proof::new(tenant.clone(), CallerKind::Machine, who));
        Keys::new(
            caller.principal(),
            &tenant,
            &ServerName::parse("up").unwrap(),
        )
    }

    /// Runs `who:outcome` one after the other; `!` after the caller: nobody else has called for a minute.
    fn run(circuits: &Circuits, script: &str) -> usize {
        let mut probes = 0;
        for step in script.split_whitespace() {
            let (who, outcome) = step.split_once(':').unwrap();
            let (who, alone) = (who.trim_end_matches('!'), who.ends_with('!'));
            let keys = keys(who);
            let tries = HalfOpen::default();
            let Ok(admitted) = circuits.admit(&keys, THREE, &tries) else {
                continue;
            };
            let opinion = match outcome {
                "bad" => Opinion::Bad,
                "good" => Opinion::Good,
                _ => Opinion::None,
            };
            probes += usize::from(admitted.report(opinion, || alone).is_some());
        }
        probes
    }

    #[test]
    fn one_caller_opens_its_own_breaker_and_nobody_elses() {
        for (script, a, b, probes) in [
            ("a:bad a:bad", false, false, 0),
            ("a:bad a:bad a:bad", true, false, 1),
            ("a:bad a:bad a:bad a:bad a:bad a:bad", true, false, 1),
            ("a:bad a:bad a:good a:bad", false, false, 0),
            ("a:bad a:bad a:none a:bad", true, false, 1),
            // Failures of one do not add to those of another.
            ("a:bad b:bad a:bad b:bad", false, false, 0),
            // Two callers are proof, and so is the only one there is.
            ("a:bad a:bad a:bad b:bad b:bad b:bad", true, true, 1),
            ("a!:bad a!:bad a!:bad", true, true, 0),
            // One that is served again is no evidence.
            ("a:bad b:bad b:bad b:bad a:good a:bad a:bad", false, true, 1),
        ] {
            let circuits = Circuits::default();
            assert_eq!(run(&circuits, script), probes, "{script}");
            let open = |who| circuits.check(&keys(who)).is_err();
            assert_eq!((open("a"), open("b")), (a, b), "{script}");
            let for_all = script.contains('!') || (a && b);
            assert_eq!(open("c"), for_all, "{script}");
            assert_eq!(circuits.open(), usize::from(for_all), "{script}");
        }
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_all() {
        let circuits = Circuits::default();
        let keys = keys("a");
        let mut suspect = None;
        for _ in 0..3 {
            let tries = HalfOpen::default();
            let admitted = circuits.admit(&keys, THREE, &tries).unwrap();
            suspect = admitted.report(Opinion::Bad, || false);
        }
        let suspect = suspect.unwrap();
        assert!(circuits.is_suspected(&suspect));
        assert!(circuits.check(&self::keys("b")).is_ok());
        circuits.unreachable(&suspect, THREE);
        assert!(circuits.check(&self::keys("b")).is_err());
    }

    #[test]
    fn a_thousand_callers_leave_two_as_evidence() {
        let circuits = Circuits::default();
        for who in 0..1_000 {
            run(&circuits, &format!("{who}:bad {who}:bad {who}:bad"));
        }
        let suspected = circuits.suspected();
        assert_eq!(suspected.len(), 1);
        assert!(suspected.values().all(|one| one.callers.len() <= 2));
    }

    #[test]
    fn a_caller_is_alone_when_nobody_else_called_for_a_minute() {
        for (calls, alone) in [
            (&[][..], true),
            (&[(1, 100)], true),
            (&[(1, 100), (2, 100)], false),
            (&[(2, 39), (1, 100)], true),
            (&[(2, 41), (1, 100)], false),
            // The last two are known, whoever else there was.
            (&[(2, 100), (3, 100), (1, 100)], false),
            (&[(2, 41), (1, 41), (3, 100)], false),
        ] {
            let last = LastCallers::default();
            for (who, at) in calls {
                last.note(*who, *at);
            }
            assert_eq!(last.is_alone(1, 100), alone, "{calls:?}");
        }
    }
}
