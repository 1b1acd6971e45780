//! What counts as a change.

use std::fs;

use super::*;

fn watched(directory: &Path) -> Watched {
    Watched::from([
        (
            Subject::Configuration,
            vec![directory.join("keepgate.yaml")],
        ),
        (Subject::Policy, vec![directory.join("policies")]),
        (Subject::Keys, vec![directory.join("keys.json")]),
    ])
}

#[tokio::test]
async fn tells_which_subject_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir_all(path.join("policies/deep")).unwrap();
    fs::write(path.join("keepgate.yaml"), "a").unwrap();
    fs::write(path.join("policies/deep/a.rego"), "a").unwrap();
    let mut watch = Watch::start(watched(path));

    fs::write(path.join("policies/deep/b.rego"), "b").unwrap();
    assert_eq!(watch.next().await, [Subject::Policy]);
    fs::write(path.join("keys.json"), "{}").unwrap();
    assert_eq!(watch.next().await, [Subject::Keys]);
    // Replaced by another file of the same size, as editors and our own writers do.
    fs::write(path.join("new"), "b").unwrap();
    fs::rename(path.join("new"), path.join("keepgate.yaml")).unwrap();
    fs::remove_file(path.join("policies/deep/a.rego")).unwrap();
    assert_eq!(
        watch.next().await,
        [Subject::Configuration, Subject::Policy]
    );
}

#[tokio::test]
async fn sees_changes_without_notices() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("keepgate.yaml"), "a").unwrap();
    let mut watch = Watch::start(watched(path));
    watch.notifier = None;
    fs::write(path.join("keepgate.yaml"), "other").unwrap();
    let changed = tokio::time::timeout(LOOK_EVERY * 4, watch.next())
        .await
        .unwrap();
    assert_eq!(changed, [Subject::Configuration]);
}

#[tokio::test]
async fn a_link_that_is_swapped_is_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for day in ["monday", "tuesday"] {
        fs::create_dir(path.join(day)).unwrap();
        fs::write(path.join(day).join("keepgate.yaml"), day).unwrap();
    }
    std::os::unix::fs::symlink("monday", path.join("today")).unwrap();
    std::os::unix::fs::symlink("today/keepgate.yaml", path.join("keepgate.yaml")).unwrap();
    let mut watch = Watch::start(watched(path));
    std::os::unix::fs::symlink("tuesday", path.join("next")).unwrap();
    fs::rename(path.join("next"), path.join("today")).unwrap();
    assert_eq!(watch.next().await, [Subject::Configuration]);
}

#[tokio::test]
async fn what_lies_beside_and_below_is_no_notice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::create_dir(path.join("audit")).unwrap();
    let mut watch = Watch::start(Watched::from([(
        Subject::Keys,
        vec![path.join("keys.json")],
    )]));
    fs::write(path.join("audit/tail.0"), "record").unwrap();
    let noticed = tokio::time::timeout(SETTLE * 5, watch.notices.recv()).await;
    assert!(
        noticed.is_err(),
        "the audit log would wake us with every record"
    );
    fs::write(path.join("keys.json"), "{}").unwrap();
    tokio::time::timeout(LOOK_EVERY * 4, watch.notices.recv())
        .await
        .unwrap();
}

#[test]
fn a_bare_name_lies_in_the_working_directory() {
    assert_eq!(
        place(Path::new("keepgate.yaml")),
        (PathBuf::from("."), Depth::Itself)
    );
}
