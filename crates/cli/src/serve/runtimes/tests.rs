//! That operators wait for no data, and that who watches the data runtime sees what keeps it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use keepgate_call::ServerName;
use keepgate_store::kill::{Ledger, Scope, Switch, Wish};
use keepgate_telemetry::metrics::Registry;

use super::{Runtimes, workers};
use crate::serve::watchdog;

/// Longer than anything here takes; only so that a failure ends.
const HANG: Duration = Duration::from_secs(60);

/// Keeps every data worker in one poll until dropped.
struct Starved(Arc<AtomicBool>);

impl Starved {
    fn new(runtimes: &Runtimes) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (begun, begins) = mpsc::channel();
        for _ in 0..workers() {
            let (over, begun) = (Arc::clone(&over), begun.clone());
            runtimes.data().spawn(async move {
                begun.send(()).expect("the test waits");
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        for _ in 0..workers() {
            begins.recv_timeout(HANG).expect("a worker is kept");
        }
        Self(over)
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Not one poll of the data runtime comes between the wish and the stored kill.
#[test]
fn a_kill_is_set_and_stored_while_every_data_worker_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().to_owned();
    let runtimes = Runtimes::start().expect("runtimes");
    let starved = Starved::new(&runtimes);
    let (done, acknowledged) = mpsc::channel();
    let switch = Switch::new();
    let live = Arc::clone(&switch);
    runtimes.operators().spawn(async move {
        let ledger = Ledger::open(&state, &live).await;
        let wish = Wish {
            scope: Scope::Server(ServerName::parse("up").expect("a name")),
            tenant: None,
            reason: "it floods".to_owned(),
            by: "alice".to_owned(),
            lasts: None,
        };
        let set = ledger.set(wish).await.expect("a kill");
        done.send(set.durable).expect("the test waits");
    });
    let durable = acknowledged.recv_timeout(HANG).expect("an acknowledgement");
    assert!(durable.file && durable.database, "{durable:?}");
    assert_eq!(switch.in_force().len(), 1);
    drop(starved);
    runtimes.end();
}

fn shown(registry: &Registry) -> String {
    keepgate_telemetry::metrics::text::encode(&registry.read())
}

/// A metric of the registry's text.
fn metric(registry: &Registry, name: &str) -> f64 {
    let text = shown(registry);
    let line = text
        .lines()
        .find(|line| line.split(' ').next() == Some(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or(-1.0)
}

#[test]
fn the_watchdog_counts_workers_in_a_long_poll() {
    let runtimes = Runtimes::start().expect("runtimes");
    let registry = Registry::default();
    let stalls = Arc::default();
    watchdog::observe(&registry, &stalls);
    let watched = watchdog::watch(runtimes.data().clone(), stalls);
    runtimes.operators().spawn(watched);
    let until = |what: &str, is: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !is() {
            assert!(begun.elapsed() < HANG, "{what}: {}", shown(&registry));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let stalled = || metric(&registry, "keepgate_runtime_stalled_workers");
    until("nothing is stalled", &|| stalled() == 0.0);
    let starved = Starved::new(&runtimes);
    let all = f64::from(u32::try_from(workers()).expect("few"));
    until("all are stalled", &|| stalled() == all);
    assert!(metric(&registry, "keepgate_runtime_delay_seconds") >= 0.0);
    drop(starved);
    until("they go on", &|| stalled() == 0.0);
    assert_eq!(metric(&registry, "keepgate_runtime_stalls_total"), all);
    runtimes.end();
}
