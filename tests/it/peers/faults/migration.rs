//! Upgrades that are cut off, or meet a full disk: a state directory of an older version, with its number and its databases as
//! they were, is brought to the form of this one by whichever start gets there, and nothing in it is lost.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

use super::super::gate::{Gate, Home};
use super::super::process::{PATIENCE, Running, command};
use super::kills::{active, kill, records};
use super::{NEED_ROOM, Shim, each};

/// Undoes the migrations of a database, the newest first, down to the first version; and reports its versions.
const DOWN: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for version, undo in [(2, 'ALTER TABLE kills DROP COLUMN recorded')]:
    db.execute(undo)
    db.execute('DELETE FROM _sqlx_migrations WHERE version = ?', (version,))
db.commit()
db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
";
const VERSIONS: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(*[row[0] for row in db.execute('SELECT version FROM _sqlx_migrations WHERE success ORDER BY version')])
";

/// Runs a script on the database of a home.
async fn python(home: &Home, script: &str) -> String {
    let mut python = command("python3", &["-c", script]);
    python.arg(home.path("state/keepgate.db"));
    let done = Running::start("python3", python).finished(PATIENCE).await;
    done.good().trim().to_owned()
}

/// The state directory of the first version there was: a kill that is active, one that is over, and their records.
struct Older {
    home: Home,
    active: String,
    records: BTreeMap<(String, String), (usize, bool)>,
}

impl Older {
    /// `with_file` is whether `kill.log` is there, or the database alone has to hold the kills.
    async fn new(with_file: bool) -> Self {
        let gate = Home::new()
            .url("up", "http://127.0.0.1:9/mcp")
            .serve()
            .await;
        let set = async |target: &str| {
            let words = ["set", "server", target, "--reason", "before"];
            let done = kill(&gate, &words).await.json();
            done["kill"]["id"].as_str().expect("an id").to_owned()
        };
        let (active, over) = (set("up").await, set("other").await);
        kill(&gate, &["clear", &over, "--reason", "before"])
            .await
            .good();
        let home = gate.end_keeping().await.home;
        let records = records(&home).await;
        assert_eq!(records.len(), 3, "{records:?}");
        python(&home, DOWN).await;
        assert_eq!(python(&home, VERSIONS).await, "1");
        let mut gone = vec![
            "format",
            "sessions.db",
            "sessions.db-wal",
            "sessions.db-shm",
        ];
        if !with_file {
            gone.push("kill.log");
        }
        for name in gone {
            drop(std::fs::remove_file(home.path(&format!("state/{name}"))));
        }
        Self {
            home,
            active,
            records,
        }
    }

    /// Starts it once more, which has to bring it to the form of this version with everything that was in it.
    async fn check_whole(self, at: &str) {
        let gate = self.home.serve().await;
        assert_eq!(gate.admin("/readyz").await, 200, "{at}");
        let found = active(&gate).await;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [self.active], "{at}");
        let home = gate.end_keeping().await.home;
        assert_eq!(records(&home).await, self.records, "{at}");
        home.verified().await;
        assert_eq!(python(&home, VERSIONS).await, "1 2", "{at}");
        let format = std::fs::read_to_string(home.path("state/format"));
        assert_eq!(format.expect("a file"), "1\n", "{at}");
    }
}

fn serve(home: &Home, shim: &Shim) -> Running {
    let (name, value) = shim.environment();
    home.start(&[(name, &value)])
}

/// Waits until a start is ready; returns whether it got there.
async fn is_ready(process: &mut Running) -> bool {
    let ready = |text: &str| text.contains("\"message\":\"ready\"").then_some(());
    process.says_or_ends("its end", ready).await.is_ok()
}

/// Operations of the first start of this version.
async fn operations() -> Vec<String> {
    let older = Older::new(true).await;
    let shim = Shim::new(&older.home);
    shim.trace();
    let mut process = serve(&older.home, &shim);
    assert!(is_ready(&mut process).await, "{}", process.stderr());
    let operations = shim.traced();
    process.signal(Signal::SIGTERM);
    process.ended(PATIENCE).await;
    older.check_whole("nothing").await;
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_killed_at_any_operation_is_completed_by_the_next_start() {
    let operations = operations().await;
    let touched = |name: &str| operations.iter().filter(|it| it.contains(name)).count();
    for (name, least) in [("/format", 3), ("/keepgate.db", 5), ("/sessions.db", 5)] {
        assert!(touched(name) >= least, "{name}: {operations:?}");
    }
    let rules = operations.iter().enumerate().map(|(index, operation)| {
        // Every other write is torn instead. A plain open changes nothing: a kill there is one before the next operation.
        let torn = operation.starts_with("write") && index % 2 == 0;
        let action = if torn { "tear" } else { "kill" };
        format!("any state {} {action}\n", index + 1)
    });
    each(rules.collect(), |rule| async move {
        // Every fourth has no file of kills: what the database lost would be lost.
        let older = Older::new(rule.len() % 4 != 0).await;
        let shim = Shim::new(&older.home);
        shim.obey(&rule);
        let mut first = serve(&older.home, &shim);
        if is_ready(&mut first).await {
            first.signal(Signal::SIGKILL);
        }
        first.ended(PATIENCE).await;
        older.check_whole(&rule).await;
    })
    .await;
}

/// Ids of the active kills of a start on a disk that takes nothing.
async fn active_of(home: Home, shim: &Shim) -> (Gate, Vec<String>) {
    let (name, value) = shim.environment();
    let gate = home.serve_with(&[(name, &value)]).await;
    let found = active(&gate).await.into_iter().collect();
    (gate, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_on_a_full_disk_keeps_every_kill() {
    for with_file in [true, false] {
        let Older {
            home,
            active,
            records,
        } = Older::new(with_file).await;
        let shim = Shim::new(&home);
        // The number of the format is written first, or no gateway runs.
        shim.obey(&format!(
            "{NEED_ROOM} keepgate.db 1+ ENOSPC\n{NEED_ROOM} kill.log 1+ ENOSPC\n"
        ));
        let (gate, found) = active_of(home, &shim).await;
        assert_eq!(found, [active.as_str()], "with a file: {with_file}");
        let home = gate.kill().await;
        let older = Older {
            home,
            active,
            records,
        };
        older.check_whole("a full disk").await;
    }
}
