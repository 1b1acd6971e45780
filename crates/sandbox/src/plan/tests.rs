//! Grants of directories that are really there.

use std::os::unix::fs::symlink;

use super::*;

/// A directory with these entries; those that end in `/` are directories.
fn tree(entries: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    for entry in entries {
        let path = root.join(entry);
        if entry.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
    }
    (directory, root)
}

/// Grants below `root`, relative to it, in order.
fn granted(root: &Path, hidden: &[&str], read_only: &[&str]) -> Vec<String> {
    let below =
        |names: &[&str]| -> Vec<PathBuf> { names.iter().map(|name| root.join(name)).collect() };
    let plan = Plan::new(&below(hidden), &below(read_only), "");
    let grants = plan.grants([(root.to_owned(), Access::Full)]).unwrap();
    let mut shown: Vec<String> = grants
        .iter()
        .map(|grant| {
            let path = grant.path.strip_prefix(root).unwrap().display();
            match grant.access {
                Access::Full => path.to_string(),
                Access::Read => format!("{path} (read)"),
            }
        })
        .collect();
    shown.sort();
    shown
}

#[test]
fn what_is_hidden_is_left_out_and_its_neighbours_are_granted() {
    let (_directory, root) = tree(&[
        "gate/keepgate.yaml",
        "gate/state/audit/",
        "gate/state.old/",
        "gate/docs/a",
        "other/",
        "file",
    ]);
    let cases: [(&[&str], &[&str], &[&str]); 6] = [
        (&[], &[], &[""]),
        (
            &["gate/state"],
            &[],
            &[
                "file",
                "gate/docs",
                "gate/keepgate.yaml",
                "gate/state.old",
                "other",
            ],
        ),
        (
            &["gate/state", "gate/keepgate.yaml", "gate/state/audit"],
            &[],
            &["file", "gate/docs", "gate/state.old", "other"],
        ),
        // Not there yet: where it will be is not granted either.
        (
            &["gate/docs/new/token"],
            &[],
            &[
                "file",
                "gate/docs/a",
                "gate/keepgate.yaml",
                "gate/state",
                "gate/state.old",
                "other",
            ],
        ),
        (&["."], &[], &[]),
        (&["gate"], &["other"], &["file", "other (read)"]),
    ];
    for (hidden, read_only, expected) in cases {
        assert_eq!(granted(&root, hidden, read_only), expected, "{hidden:?}");
    }
}

#[test]
fn links_lead_nowhere_hidden_and_cannot_be_replaced() {
    let (_directory, root) = tree(&["data/state/", "data/more/", "etc/", "open/"]);
    symlink("../data/state", root.join("etc/state")).unwrap();
    symlink(root.join("data"), root.join("open/way")).unwrap();
    // The place behind the link is hidden, and the link cannot be replaced: its directory is not granted.
    assert_eq!(granted(&root, &["etc/state"], &[]), ["data/more", "open"]);
    // A link in the middle of the way.
    assert_eq!(
        granted(&root, &["open/way/state"], &[]),
        ["data/more", "etc"]
    );
    // One that circles ends.
    symlink("circle", root.join("circle")).unwrap();
    assert!(!granted(&root, &["circle"], &[]).contains(&"circle".to_owned()));
}

#[test]
fn a_list_is_granted_and_nothing_hidden_on_it() {
    let (_directory, root) = tree(&["a/b/", "a/c/", "d/"]);
    let plan = Plan::new(&[root.join("a/b")], &[], "");
    let grants = plan
        .grants([
            (root.join("a"), Access::Read),
            (root.join("a/b"), Access::Full),
            (root.join("d"), Access::Full),
        ])
        .unwrap();
    let expected = [
        (root.join("d"), Access::Full),
        (root.join("a/c"), Access::Read),
    ]
    .map(|(path, access)| Grant { path, access });
    assert_eq!(grants, expected);
}
