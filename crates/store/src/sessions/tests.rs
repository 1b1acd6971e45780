//! Sessions over databases that work, fail, are locked and are replaced.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use super::{FILE, SessionRow, SessionStore};

const PATIENCE: Duration = Duration::from_secs(60);

fn row(number: u8, used_ms: u64) -> SessionRow {
    SessionRow {
        id: [number; 32],
        used_ms,
        sealed: vec![number; 40].into(),
    }
}

async fn stored(directory: &Path) -> Vec<SessionRow> {
    let (store, rows) = SessionStore::open(directory, 100).await;
    store.close(PATIENCE).await;
    rows
}

#[tokio::test]
async fn rows_last_until_they_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, rows) = SessionStore::open(directory.path(), 100).await;
    assert_eq!(rows, []);
    for number in 1..=3 {
        let put = store.put(row(number, u64::from(number)));
        assert!(put.is_durable(PATIENCE).await);
    }
    let removed = store.remove([2; 32]);
    assert!(removed.is_durable(PATIENCE).await);
    // One that has ended does not come back, whoever notes what of it.
    assert!(
        store
            .touch([([2; 32], 9), ([1; 32], 7)])
            .is_durable(PATIENCE)
            .await
    );
    // Not closed: as after `kill -9`.
    assert_eq!(stored(directory.path()).await, [row(1, 7), row(3, 3)]);
    drop(store);
    let mode = fs::metadata(directory.path().join(FILE)).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_removal_that_overtakes_its_row_counts() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = SessionStore::open(directory.path(), 100).await;
    for number in 1..=200 {
        store.put(row(number, 1));
        store.remove([number; 32]);
    }
    store.close(PATIENCE).await;
    assert_eq!(stored(directory.path()).await, []);
}

#[tokio::test]
async fn rows_beyond_the_limit_and_rows_of_others_go() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = SessionStore::open(directory.path(), 100).await;
    for number in 1..=5 {
        store.put(row(number, u64::from(number)));
    }
    store.put(SessionRow {
        sealed: vec![0; super::database::MAX_SEALED + 1].into(),
        ..row(6, 100)
    });
    store.close(PATIENCE).await;
    let (store, rows) = SessionStore::open(directory.path(), 2).await;
    store.close(PATIENCE).await;
    assert_eq!(rows, [row(5, 5), row(4, 4)]);
    assert_eq!(stored(directory.path()).await, rows);
}

#[tokio::test]
async fn a_database_that_cannot_be_read_is_removed_whole() {
    type Breaks = fn(&Path);
    let broken: [Breaks; 3] = [
        |path| {
            fs::write(
                path,
                "this is no database, and it is long enough to be looked at",
            )
            .unwrap()
        },
        |path| {
            let mut bytes = fs::read(path).unwrap();
            for byte in bytes.iter_mut().skip(100) {
                *byte = 0xff;
            }
            fs::write(path, bytes).unwrap();
        },
        |path| fs::write(path, vec![0; 4096]).unwrap(),
    ];
    for breaks in broken {
        let directory = tempfile::tempdir().unwrap();
        let (store, _) = SessionStore::open(directory.path(), 100).await;
        store.put(row(1, 1));
        store.close(PATIENCE).await;
        breaks(&directory.path().join(FILE));
        let (store, rows) = SessionStore::open(directory.path(), 100).await;
        assert_eq!(rows, []);
        assert_eq!(store.problem(), None, "the new file works");
        assert!(store.put(row(2, 2)).is_durable(PATIENCE).await);
        store.close(PATIENCE).await;
        assert_eq!(stored(directory.path()).await, [row(2, 2)]);
    }
}

#[tokio::test]
async fn what_cannot_be_removed_takes_the_database_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = SessionStore::open(directory.path(), 100).await;
    for number in 1..=3 {
        store.put(row(number, 1));
    }
    assert!(store.touch([]).is_durable(PATIENCE).await);
    // Another process holds it for longer than anybody waits.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.path().join(FILE));
    let other = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let mut held = other.acquire().await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut *held)
        .await
        .unwrap();
    assert!(store.remove([2; 32]).is_durable(PATIENCE).await);
    assert_eq!(
        store.losses(),
        1,
        "whoever knows the others puts them in again"
    );
    assert_eq!(stored(directory.path()).await, []);
    assert!(store.put(row(1, 1)).is_durable(PATIENCE).await);
    store.close(PATIENCE).await;
    assert_eq!(stored(directory.path()).await, [row(1, 1)]);
}

#[tokio::test]
async fn a_file_that_was_replaced_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = SessionStore::open(directory.path(), 100).await;
    assert!(store.put(row(1, 1)).is_durable(PATIENCE).await);
    fs::remove_file(directory.path().join(FILE)).unwrap();
    assert!(store.put(row(2, 2)).is_durable(PATIENCE).await);
    assert_eq!(store.losses(), 1);
    store.close(PATIENCE).await;
    assert_eq!(stored(directory.path()).await, [row(2, 2)]);
}
