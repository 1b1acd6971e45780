//! Faults of the disk below a running gateway, on demand and without root: an operation of a kind, on a path, fails, is slow
//! or is the last one the process sees.
//!
//! A test writes rules into the [`Shim`] of its home, before or while the gateway runs; `shim.c` next to this file is loaded
//! in front of the C library and obeys them. A new kind of fault is a row in a table here, or an action in `shim.c`.

mod audit_log;
mod clock;
mod commands;
mod first_start;
mod frozen;
mod kills;
mod migration;
mod reload;
mod vanished;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::gate::Home;
use super::process::repository;

/// Operations that change the disk and need room on it.
pub(super) const NEED_ROOM: &str = "create,write,sync,rename,link,mkdir,truncate";

/// Gateways that run at once.
const AT_ONCE: usize = 4;

/// Runs `case` with each rule, some at once.
pub(super) async fn each<F: Future<Output = ()> + Send + 'static>(
    rules: Vec<String>,
    case: impl Fn(String) -> F,
) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for rule in rules {
        let (room, case) = (Arc::clone(&room), case(rule));
        running.spawn(async move {
            let _permit = room.acquire().await.expect("open");
            case.await;
        });
    }
    while let Some(done) = running.join_next().await {
        done.expect("a start that goes on");
    }
}

/// The faults of one home.
#[derive(Debug)]
pub(super) struct Shim {
    folder: tempfile::TempDir,
}

impl Shim {
    /// Without rules yet; sees operations below the state directory of `home`.
    pub(super) fn new(home: &Home) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::copy(library(), folder.path().join("shim.so")).expect("a copy");
        let root = home.path("state").display().to_string();
        std::fs::write(folder.path().join("root"), root).expect("a file");
        Self { folder }
    }

    /// The variable that loads it.
    pub(super) fn environment(&self) -> (&'static str, String) {
        let library = self.folder.path().join("shim.so");
        ("LD_PRELOAD", library.display().to_string())
    }

    /// Activates rules, `ops path nth action` a line; none ends all faults.
    pub(super) fn obey(&self, rules: &str) {
        let new = self.folder.path().join("rules.new");
        std::fs::write(&new, rules).expect("a file");
        std::fs::rename(new, self.folder.path().join("rules")).expect("a file");
    }

    /// Sets the wall clock, by seconds from what it is.
    fn set_clock(&self, seconds: i64) {
        let new = self.folder.path().join("clock.new");
        std::fs::write(&new, seconds.to_string()).expect("a file");
        std::fs::rename(new, self.folder.path().join("clock")).expect("a file");
    }

    /// Notes operations from now on.
    pub(super) fn trace(&self) {
        std::fs::write(self.folder.path().join("trace"), "").expect("a file");
    }

    /// Operations since then, one a line.
    pub(super) fn traced(&self) -> Vec<String> {
        let trace = std::fs::read_to_string(self.folder.path().join("trace")).expect("a trace");
        trace.lines().map(str::to_owned).collect()
    }
}

/// The compiled shim, made once by the first test that needs it.
#[expect(
    clippy::disallowed_methods,
    reason = "a compiler is no server: tests wait for it on the spot"
)]
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = repository().join("tests/it/peers/faults/shim.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fault-shim.so");
        // Other processes that run tests may be at it too: each writes its own and renames it.
        let own = library.with_extension(std::process::id().to_string());
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o"])
            .args([&own, &source])
            .arg("-ldl")
            .output()
            .expect("cc is installed");
        let errors = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{errors}");
        std::fs::rename(own, &library).expect("a library");
        library
    })
}
