//! The key that seals: lost, damaged, restored, changed, and each of these cut off.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Gate, call, frozen};
use crate::{Approvals, Denial, Verdict};

impl Gate {
    fn key(&self) -> PathBuf {
        self.state.path().join("private/store.key")
    }

    fn next_key(&self) -> PathBuf {
        self.state.path().join("private/store.key.next")
    }
}

fn write(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, bytes).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("closed to others");
}

/// Whether calls that need an approval are refused since there is no key.
async fn is_unusable(approvals: &Approvals) -> bool {
    let entered = approvals.enter(&call(), frozen(), &()).await;
    approvals.key_problem().is_some() && matches!(entered, Err(Denial::Unavailable(_)))
}

async fn asks(approvals: &Approvals) -> Arc<str> {
    match approvals.enter(&call(), frozen(), &()).await {
        Err(Denial::Pending { id, .. }) => id,
        other => panic!("{other:?}"),
    }
}

/// Way in which a key is lost.
type Loss = fn(&Gate);

const LOSSES: [(&str, Loss); 3] = [
    ("gone", |gate| fs::remove_file(gate.key()).expect("removed")),
    ("damaged", |gate| write(&gate.key(), b"short")),
    ("another", |gate| write(&gate.key(), &[7; 32])),
];

#[tokio::test]
async fn a_lost_key_cancels_what_waits_and_needs_a_person() {
    for (how, lose) in LOSSES {
        let gate = Gate::new();
        let approved = gate.pending(frozen()).await;
        gate.decide(&approved, "ann", Verdict::Approve)
            .await
            .expect("counts");
        let mut other = frozen();
        other.arguments = None;
        let waiting = gate.pending(other).await;
        let backup = fs::read(gate.key()).expect("a key");
        lose(&gate);
        // Also after another restart, when nothing is open any more.
        for _ in 0..2 {
            let blind = gate.restarted();
            blind.tend().await.expect("tended");
            assert!(is_unusable(&blind).await, "{how}");
        }
        assert_eq!(gate.state(&waiting).await, "cancelled", "{how}");
        assert_eq!(gate.state(&approved).await, "revoked", "{how}");
        let records = gate.records();
        let lost = records.iter().filter(|it| *it == "approval.ended key_lost");
        assert_eq!(lost.count(), 2, "{how}");

        // The file is restored: seen by the next look.
        let blind = gate.restarted();
        blind.tend().await.expect("tended");
        write(&gate.key(), &backup);
        blind.tend().await.expect("tended");
        assert_eq!(blind.key_problem(), None, "{how}");
        asks(&blind).await;

        lose(&gate);
        let blind = gate.restarted();
        blind.tend().await.expect("tended");
        assert!(is_unusable(&blind).await, "{how}");
        let done = gate.restarted().rekey().await.expect("changed");
        assert_eq!(done.resealed, 0, "{how}: {done:?}");
        let next = gate.restarted();
        next.tend().await.expect("tended");
        asks(&next).await;
    }
}

#[tokio::test]
async fn a_key_that_is_gone_while_nothing_is_open_is_made_again() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    gate.decide(&id, "ann", Verdict::Deny)
        .await
        .expect("counts");
    fs::remove_file(gate.key()).expect("removed");
    let next = gate.restarted();
    next.tend().await.expect("tended");
    assert_eq!(next.key_problem(), None);
    asks(&next).await;
    assert_eq!(gate.state(&id).await, "denied");

    // A damaged one is somebody's file: nothing is written over it.
    let gate = Gate::new();
    gate.approvals.tend().await.expect("tended");
    write(&gate.key(), b"short");
    let next = gate.restarted();
    next.tend().await.expect("tended");
    assert!(is_unusable(&next).await);
    assert_eq!(fs::read(gate.key()).expect("there"), b"short");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_now_costs_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    // Open to others: refused, and not given up.
    let open = |mode| fs::set_permissions(gate.key(), fs::Permissions::from_mode(mode));
    open(0o666).expect("changed");
    let next = gate.restarted();
    next.tend().await.expect("tended");
    assert!(is_unusable(&next).await);
    assert_eq!(gate.state(&id).await, "pending");
    open(0o600).expect("changed");
    next.tend().await.expect("tended");
    assert_eq!(asks(&next).await, id);
}

/// A change of keys, cut off at each of its steps, and brought to its end by the next start.
#[tokio::test]
async fn a_change_of_keys_survives_a_crash_at_each_step() {
    for step in 0..5 {
        let gate = Gate::new();
        let waiting = gate.pending(frozen()).await;
        let mut other = frozen();
        other.arguments = None;
        let approved = gate.pending(other.clone()).await;
        gate.decide(&approved, "ann", Verdict::Approve)
            .await
            .expect("counts");
        let before = fs::read(gate.key()).expect("a key");
        gate.restarted().rekey().await.expect("changed");
        let after = fs::read(gate.key()).expect("a key");
        assert_ne!(before, after, "{step}");
        match step {
            // Before the old key was replaced: rows have the new one, both files are there.
            0 => {
                write(&gate.next_key(), &after);
                write(&gate.key(), &before);
            }
            // After it was replaced, before the new one's first file was removed.
            1 => write(&gate.next_key(), &after),
            // The key of a next change was made, and no row has it yet.
            2 => write(&gate.next_key(), &[9; 32]),
            // Some rows have it.
            3 => {
                let half = gate.restarted();
                write(&gate.next_key(), &[9; 32]);
                half.rekey_some(1).await.expect("changed");
            }
            // Whole.
            _ => {}
        }
        let next = gate.restarted();
        next.tend().await.expect("tended");
        assert_eq!(next.key_problem(), None, "{step}");
        assert!(!gate.next_key().exists(), "{step}");
        assert_eq!(
            asks(&next).await,
            waiting,
            "{step}: joined, under the new key too"
        );
        let used = next
            .enter(&call(), other, &())
            .await
            .expect("still approved");
        assert_eq!(*used.approval(), approved, "{step}");
        assert!(
            !gate.records().iter().any(|it| it.ends_with("key_lost")),
            "{step}"
        );
    }
}
