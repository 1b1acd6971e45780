//! What lasts when one of the two places does not.

use std::{fs, time::Duration};

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use super::*;
use crate::kill::Scope;

fn wish(word: &str, target: Option<&str>) -> Wish {
    Wish {
        scope: Scope::parse(word, target).unwrap(),
        tenant: None,
        reason: "test".to_owned(),
        by: "alice".to_owned(),
        lasts: None,
    }
}

async fn open(directory: &Path) -> Arc<Ledger> {
    Ledger::open(directory, &Switch::new()).await
}

fn in_force(ledger: &Ledger) -> Vec<String> {
    let kills = ledger.switch().in_force();
    kills.iter().map(|kill| kill.scope.to_string()).collect()
}

/// The acts that are not on record.
fn unrecorded(ledger: &Ledger) -> Vec<String> {
    let acts = ledger.unrecorded(Duration::ZERO).into_iter();
    acts.map(|(kill, act)| format!("{} {act:?}", kill.scope))
        .collect()
}

/// Makes the database unreadable. The write-ahead log goes too: SQLite mends the file by it.
fn ruin(directory: &Path) {
    for part in ["-wal", "-shm"] {
        drop(fs::remove_file(
            directory.join(format!("{}{part}", Database::FILE)),
        ));
    }
    fs::write(
        directory.join(Database::FILE),
        "no database at all, not by far",
    )
    .unwrap();
}

/// Opened anew, as after a restart, what is in force?
async fn after_restart(directory: &Path) -> Vec<String> {
    in_force(open(directory).await.as_ref())
}

/// Removes the files of a directory whose names hold `part`. The database's own companions go by themselves, perhaps
/// meanwhile.
fn remove(directory: &Path, part: &str) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if name.contains(part) {
            let removed = fs::remove_file(&path);
            assert!(removed.is_ok() || !path.exists(), "{removed:?}");
        }
    }
}

#[tokio::test]
async fn a_kill_is_in_both_places_and_survives() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path()).await;
    assert!(ledger.list().is_empty());
    assert_eq!(ledger.health(), Health::default());
    let done = ledger.set(wish("server", Some("crm"))).await.unwrap();
    assert!(done.durable.file && done.durable.database);
    let gone = ledger.set(wish("caller", Some("bob"))).await.unwrap();
    let cleared = ledger.clear(&gone.kill.id, "carol", "false alarm").await;
    assert!(cleared.unwrap().durable.database);
    let again = ledger.clear(&gone.kill.id, "carol", "again").await;
    assert!(matches!(again, Err(ActError::Over(_, "cleared"))));
    assert!(matches!(
        ledger.clear("k_0", "carol", "none").await,
        Err(ActError::Unknown(_))
    ));
    drop(ledger);
    let ledger = open(directory.path()).await;
    assert_eq!(in_force(&ledger), ["server crm"]);
    let list = ledger.list();
    assert_eq!(list.len(), 2);
    assert_eq!(&*list[1].cleared.as_ref().unwrap().by, "carol");
}

#[tokio::test]
async fn either_place_alone_is_enough() {
    for lost in [Database::FILE, KillFile::FILE] {
        let directory = tempfile::tempdir().unwrap();
        let ledger = open(directory.path()).await;
        ledger.set(wish("server", Some("crm"))).await.unwrap();
        let over = ledger.set(wish("server", Some("files"))).await.unwrap();
        ledger.clear(&over.kill.id, "bob", "over").await.unwrap();
        drop(ledger);
        remove(directory.path(), lost);
        let ledger = open(directory.path()).await;
        assert_eq!(in_force(&ledger), ["server crm"], "without {lost}");
        assert_eq!(
            ledger.behind(),
            (0, 0),
            "the other place is brought up to date"
        );
        assert_eq!(ledger.health(), Health::default());
    }
}

#[tokio::test]
async fn a_database_that_is_damaged_is_told_and_does_without() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path()).await;
    ledger.set(wish("server", Some("crm"))).await.unwrap();
    ledger.close().await;
    ruin(directory.path());
    let ledger = open(directory.path()).await;
    assert_eq!(in_force(&ledger), ["server crm"]);
    assert!(ledger.health().database.is_some());
    let done = ledger.set(wish("caller", Some("bob"))).await.unwrap();
    assert!(done.durable.file && !done.durable.database && done.durable.is_durable());
    assert_eq!(
        after_restart(directory.path()).await,
        ["server crm", "caller bob"]
    );
}

#[tokio::test]
async fn what_cannot_be_read_anywhere_cuts_everything_off() {
    let directory = tempfile::tempdir().unwrap();
    ruin(directory.path());
    let ledger = open(directory.path()).await;
    assert_eq!(in_force(&ledger), ["everything"]);
    assert_eq!(unrecorded(&ledger), ["everything Set"]);
    assert!(ledger.health().damage.is_some());
}

#[tokio::test]
async fn a_damaged_file_cuts_everything_off_until_it_is_cleared() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path()).await;
    ledger.set(wish("server", Some("crm"))).await.unwrap();
    drop(ledger);
    let path = directory.path().join(KillFile::FILE);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("alice", "mallo")).unwrap();
    let ledger = open(directory.path()).await;
    assert_eq!(in_force(&ledger), ["server crm", "everything"]);
    let evidence = fs::read_dir(directory.path()).unwrap().any(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().contains("kill.log.damaged-")
    });
    assert!(evidence, "the damaged file is kept");
    let everything = ledger.switch().in_force().pop().unwrap();
    assert_eq!(&*everything.by, OURSELVES);
    ledger
        .clear(&everything.id, "bob", "looked at it")
        .await
        .unwrap();
    drop(ledger);
    assert_eq!(after_restart(directory.path()).await, ["server crm"]);
}

#[tokio::test]
async fn a_locked_database_holds_nobody_up_and_gets_the_kill_later() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path()).await;
    let mut other = SqliteConnectOptions::new()
        .filename(directory.path().join(Database::FILE))
        .connect()
        .await
        .unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let done = ledger.set(wish("server", Some("crm"))).await.unwrap();
    assert!(done.durable.file && !done.durable.database);
    assert!(ledger.health().database.is_some());
    assert_eq!(in_force(&ledger), ["server crm"]);
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    // Due at once: the next pressing act brings everything along.
    let next = ledger.set(wish("server", Some("files"))).await.unwrap();
    assert!(next.durable.database);
    assert_eq!(ledger.behind(), (0, 0));
    assert_eq!(ledger.health(), Health::default());
}

#[tokio::test]
async fn files_that_vanish_while_it_runs_are_written_anew() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path()).await;
    ledger.set(wish("server", Some("crm"))).await.unwrap();
    ledger.tend().await;
    remove(directory.path(), "");
    let done = ledger.set(wish("caller", Some("bob"))).await.unwrap();
    assert!(done.durable.is_durable(), "the file was made anew");
    ledger.tend().await;
    ledger.set(wish("caller", Some("eve"))).await.unwrap();
    assert_eq!(ledger.behind(), (0, 0));
    drop(ledger);
    assert_eq!(
        after_restart(directory.path()).await,
        ["server crm", "caller bob", "caller eve"]
    );
}

#[tokio::test]
async fn what_vanishes_right_after_a_kill_is_written_again() {
    let remove = |path: &Path| drop(fs::remove_file(path));
    for what in [
        "file",
        "file and database",
        "directory",
        "file, after an earlier kill was read",
    ] {
        let parent = tempfile::tempdir().unwrap();
        let state = parent.path().join("state");
        let ledger = open(&state).await;
        if what.ends_with("read") {
            ledger.set(wish("caller", Some("eve"))).await.unwrap();
            ledger.tend().await;
        }
        ledger.set(wish("server", Some("crm"))).await.unwrap();
        match what {
            "directory" => fs::remove_dir_all(&state).unwrap(),
            "file and database" => {
                for entry in fs::read_dir(&state).unwrap() {
                    remove(&entry.unwrap().path());
                }
            }
            _ => remove(&state.join(KillFile::FILE)),
        }
        ledger.tend().await;
        ledger.tend().await;
        // The database is tried again after a while.
        assert_eq!(ledger.behind().0, 0, "{what}");
        let text = fs::read_to_string(state.join(KillFile::FILE)).unwrap();
        assert!(text.contains("\"crm\""), "{what}");
        let expected = ledger.list().len();
        drop(ledger);
        assert_eq!(after_restart(&state).await.len(), expected, "{what}");
    }
}

/// A kill of a caller, set and ended some days ago.
fn past(number: u64, days: u64, ended: bool) -> Vec<Entry> {
    let at = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
    let mut kill = Kill::new(wish("caller", Some(&format!("c{number}"))), at).unwrap();
    let cleared = Cleared {
        at,
        by: "bob".into(),
        reason: "over".into(),
    };
    let set = Entry::Set(Set::of(&kill));
    kill.cleared = ended.then_some(cleared);
    let clear = Clear::of(&kill).map(Entry::Clear);
    std::iter::once(set).chain(clear).collect()
}

#[tokio::test]
async fn kills_that_are_over_for_long_are_forgotten_and_the_file_is_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let kept = [(1, 400, false), (2, 29, true), (3, 0, false)];
    let mut entries: Vec<Entry> = (100..1600)
        .flat_map(|number| past(number, 31, true))
        .collect();
    entries.extend(
        kept.into_iter()
            .flat_map(|(number, days, ended)| past(number, days, ended)),
    );
    KillFile::new(directory.path()).append(&entries).unwrap();
    let ledger = open(directory.path()).await;
    let size = || {
        fs::metadata(directory.path().join(KillFile::FILE))
            .unwrap()
            .len()
    };
    let before = size();
    ledger.tend().await;
    assert_eq!(
        (ledger.list().len(), size()),
        (1503, before),
        "they are not on record"
    );
    for (kill, act) in ledger.unrecorded(Duration::ZERO) {
        ledger.recorded(&kill.id, act);
    }
    while ledger.is_behind() {
        ledger.tend().await;
    }
    *locked(&ledger.compacted) = None;
    ledger.tend().await;
    let names = |ledger: &Ledger| {
        let kills = ledger.list();
        kills
            .iter()
            .map(|kill| kill.scope.to_string())
            .collect::<Vec<_>>()
    };
    let expected = ["caller c1", "caller c2", "caller c3"];
    assert_eq!(names(&ledger), expected);
    assert!(size() < before / 100, "{} of {before}", size());
    // The same from either place alone.
    ledger.close().await;
    drop(ledger);
    for lost in ["", Database::FILE, KillFile::FILE] {
        if !lost.is_empty() {
            remove(directory.path(), lost);
        }
        let ledger = open(directory.path()).await;
        assert_eq!(names(&ledger), expected, "without `{lost}`");
        assert_eq!(
            in_force(&ledger),
            ["caller c1", "caller c3"],
            "without `{lost}`"
        );
        ledger.close().await;
    }
}

#[tokio::test]
async fn many_kills_are_written_in_batches_and_the_new_one_first() {
    let directory = tempfile::tempdir().unwrap();
    let entries: Vec<Entry> = (0..6000).flat_map(|number| past(number, 1, true)).collect();
    let file = directory.path().join(KillFile::FILE);
    let mut writer = KillFile::new(directory.path());
    writer.append(&entries).unwrap();
    let ledger = open(directory.path()).await;
    let (_, database) = ledger.behind();
    assert!(
        database > 0 && database < 6000,
        "a start does not wait for all: {database}"
    );
    fs::remove_file(&file).unwrap();
    let done = ledger.set(wish("server", Some("crm"))).await.unwrap();
    assert!(done.durable.file && done.durable.database);
    while ledger.is_behind() {
        ledger.tend().await;
    }
    assert_eq!(ledger.behind(), (0, 0));
    drop(ledger);
    let ledger = open(directory.path()).await;
    assert_eq!(
        (ledger.list().len(), in_force(&ledger)),
        (6001, vec!["server crm".to_owned()])
    );
}

#[tokio::test]
async fn without_any_place_a_kill_holds_and_says_that_it_will_not_last() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    fs::create_dir(&directory).unwrap();
    let ledger = open(&directory).await;
    fs::remove_dir_all(&directory).unwrap();
    // Not even root makes a directory where a file is.
    fs::write(&directory, "").unwrap();
    let done = ledger.set(wish("everything", None)).await.unwrap();
    assert!(!done.durable.is_durable());
    assert_eq!(in_force(&ledger), ["everything"]);
    let health = ledger.health();
    assert!(health.file.is_some() && health.database.is_some());
    let cleared = ledger.clear(&done.kill.id, "bob", "over").await.unwrap();
    assert!(!cleared.durable.is_durable() && in_force(&ledger).is_empty());
    fs::remove_file(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    let last = ledger.set(wish("server", Some("crm"))).await.unwrap();
    assert!(last.durable.file && last.durable.database);
    assert_eq!(ledger.behind(), (0, 0));
    assert_eq!(ledger.health(), Health::default());
}

#[tokio::test]
async fn what_a_command_writes_takes_effect() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = KillFile::new(directory.path());
    let early = Kill::new(wish("server", Some("crm")), SystemTime::now()).unwrap();
    command.append(&[Entry::Set(Set::of(&early))]).unwrap();
    let ledger = open(directory.path()).await;
    assert_eq!(in_force(&ledger), ["server crm"]);
    assert_eq!(unrecorded(&ledger), ["server crm Set"]);
    let late = Kill::new(wish("caller", Some("bob")), SystemTime::now()).unwrap();
    command.append(&[Entry::Set(Set::of(&late))]).unwrap();
    let events = ledger.tend().await;
    assert!(matches!(&events[..], [Event::Set(done)] if done.kill.id == late.id));
    assert_eq!(in_force(&ledger), ["server crm", "caller bob"]);
    let over = Clear {
        id: early.id.to_string(),
        reason: "over".to_owned(),
        by: "local".to_owned(),
        at: crate::kill::text(SystemTime::now()),
    };
    command.append(&[Entry::Clear(over)]).unwrap();
    let events = ledger.tend().await;
    assert!(matches!(&events[..], [Event::Cleared(kill)] if kill.id == early.id));
    assert_eq!(in_force(&ledger), ["caller bob"]);
    assert!(ledger.tend().await.is_empty());
    drop(ledger);
    let ledger = open(directory.path()).await;
    assert_eq!(in_force(&ledger), ["caller bob"]);
}

#[tokio::test]
async fn acts_are_known_to_be_on_record_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path()).await;
    let crm = ledger.set(wish("server", Some("crm"))).await.unwrap().kill;
    let bob = ledger.set(wish("caller", Some("bob"))).await.unwrap().kill;
    ledger.recorded(&crm.id, Act::Set);
    assert_eq!(unrecorded(&ledger), ["caller bob Set"]);
    let young = ledger.unrecorded(Duration::from_secs(3600));
    assert!(young.is_empty(), "its record may be on its way");
    ledger.clear(&bob.id, "carol", "over").await.unwrap();
    ledger.tend().await;
    drop(ledger);
    let ledger = open(directory.path()).await;
    assert_eq!(
        unrecorded(&ledger),
        ["caller bob Set", "caller bob Cleared"]
    );
    ledger.recorded(&bob.id, Act::Cleared);
    ledger.recorded(&bob.id, Act::Set);
    ledger.close().await;
    let ledger = open(directory.path()).await;
    assert!(unrecorded(&ledger).is_empty());
    // Without the database nobody knows: whoever asks looks in the log.
    ledger.close().await;
    remove(directory.path(), Database::FILE);
    assert_eq!(unrecorded(open(directory.path()).await.as_ref()).len(), 3);
}

#[tokio::test]
async fn a_kill_that_ends_by_itself_does() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path()).await;
    let short = Wish {
        lasts: Some(Duration::from_secs(1)),
        ..wish("server", Some("crm"))
    };
    ledger.set(short).await.unwrap();
    let mut events = Vec::new();
    while events.is_empty() {
        events = ledger.tend().await;
        tokio::task::yield_now().await;
    }
    assert!(matches!(&events[..], [Event::Expired(_)]));
    assert_eq!(
        unrecorded(&ledger),
        ["server crm Set", "server crm Cleared"]
    );
    assert!(after_restart(directory.path()).await.is_empty());
    // Both places know that it is over, whatever the clock shows at the next start.
    assert_eq!(ledger.list()[0].state(Instant::now()).as_str(), "expired");
    ledger.tend().await;
    assert_eq!(ledger.behind(), (0, 0));
    let kept = KillFile::new(directory.path()).read_on().unwrap().entries;
    assert!(
        matches!(&kept[..], [Entry::Set(_), Entry::Clear(_)]),
        "{kept:?}"
    );
}

#[tokio::test]
async fn a_full_switch_still_takes_wide_kills() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path()).await;
    let narrow = |number| {
        let scope = Scope::Caller(format!("caller {number}").into());
        let kill = Kill::new(
            Wish {
                scope,
                ..wish("everything", None)
            },
            SystemTime::now(),
        );
        Arc::new(kill.unwrap())
    };
    ledger.switch().load((0..MOST).map(narrow));
    let one_more = ledger.set(wish("caller", Some("bob"))).await;
    assert!(matches!(one_more, Err(ActError::TooMany)));
    ledger.set(wish("server", Some("crm"))).await.unwrap();
    ledger.set(wish("everything", None)).await.unwrap();
}

#[tokio::test]
async fn wishes_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path()).await;
    for (reason, lasts) in [
        ("", None),
        ("  ", None),
        ("two\nlines", None),
        ("fine", Some(Duration::ZERO)),
        ("fine", Some(Duration::MAX)),
    ] {
        let wish = Wish {
            reason: reason.to_owned(),
            lasts,
            ..wish("everything", None)
        };
        assert!(matches!(ledger.set(wish).await, Err(ActError::Wish(_))));
    }
    assert!(ledger.list().is_empty() && in_force(&ledger).is_empty());
}

#[tokio::test]
async fn a_disk_that_takes_no_migration_hides_no_kill() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = open(directory.path()).await;
    ledger.set(wish("server", Some("crm"))).await.unwrap();
    ledger.close().await;
    // As the first version left it.
    let path = directory.path().join(Database::FILE);
    let mut older = SqliteConnectOptions::new()
        .filename(&path)
        .connect()
        .await
        .unwrap();
    for undo in [
        "ALTER TABLE kills DROP COLUMN recorded",
        "DELETE FROM _sqlx_migrations WHERE version > 1",
    ] {
        sqlx::query(undo).execute(&mut older).await.unwrap();
    }
    older.close().await.unwrap();
    let read = Database::read_closed(directory.path()).await.unwrap();
    let kills = read.unwrap();
    assert_eq!(kills.len(), 1);
    assert_eq!(kills[0].recorded.bits(), 0);
}
