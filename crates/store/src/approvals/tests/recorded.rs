//! Transitions the audit log lacks are found until they are noted, whatever became of the request; also in the file of an earlier version.

use std::{borrow::Cow, sync::Arc};

use sqlx::{
    SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};

use super::{
    ApprovalState, ApprovalStore, Decided, TERMS, TakenUse, approve, decision, ended_at, row,
    store, tenant,
};
use crate::{
    approvals::{FILE, Transition},
    sql::connect,
};

async fn lacks(store: &ApprovalStore) -> Vec<Arc<str>> {
    store.unrecorded(&tenant(), 10).await.expect("read")
}

async fn note(store: &ApprovalStore, id: &str, transition: Transition) {
    let noted = store.note_recorded(&tenant(), id, &transition).await;
    noted.expect("noted");
}

#[tokio::test]
async fn each_decision_is_found_until_it_is_noted() {
    let (_directory, store) = store(&[row(1)]).await;
    assert_eq!(lacks(&store).await, ["ap_1".into()]);
    note(&store, "ap_1", Transition::Requested).await;
    assert!(lacks(&store).await.is_empty());
    for (operator, expected) in [
        ("ann", ApprovalState::Pending),
        ("bob", ApprovalState::Approved),
    ] {
        let (of, yes) = (tenant(), decision(operator, true, 1_100));
        let decided = store.decide(&of, "ap_1", yes, &TERMS, |all| all.len() > 1);
        let Decided::Counted(counted, _) = decided.await.expect("decided") else {
            panic!("{operator}");
        };
        assert_eq!(counted.state, expected);
    }
    let found = store.get(&tenant(), "ap_1").await.expect("read");
    let states: Vec<_> = found.expect("a row").1.iter().map(|it| it.state).collect();
    let expected = [ApprovalState::Pending, ApprovalState::Approved].map(Some);
    assert_eq!(states, expected);
    // The last alone is not enough.
    for operator_id in ["bob", "ann"] {
        assert_eq!(lacks(&store).await, ["ap_1".into()]);
        let operator_id = operator_id.into();
        note(&store, "ap_1", Transition::Decided { operator_id }).await;
    }
    assert!(lacks(&store).await.is_empty());
}

#[tokio::test]
async fn each_end_and_each_use_in_doubt_is_found_until_it_is_noted() {
    let (_directory, store) = store(&[row(1), row(2), row(3)]).await;
    for id in ["ap_1", "ap_2", "ap_3"] {
        note(&store, id, Transition::Requested).await;
    }
    approve(&store, "ap_2", 1_200).await;
    let operator_id = "ann".into();
    note(&store, "ap_2", Transition::Decided { operator_id }).await;
    let taken = store
        .consume(&tenant(), "ap_2", ("au_1", "d"), None, 1_300)
        .await;
    taken
        .expect("consumed")
        .map(TakenUse::claim)
        .expect("taken");
    assert!(lacks(&store).await.is_empty());
    store
        .end(&tenant(), "ap_1", ended_at(1_400))
        .await
        .expect("ended");
    store.abandon_uses(1_500).await.expect("abandoned");
    store.expire(&tenant(), 2_000, 10).await.expect("expired");
    assert_eq!(lacks(&store).await, ["ap_1", "ap_2", "ap_3"].map(Arc::from));
    let end = async |id| {
        let found = store.get(&tenant(), id).await.expect("read");
        found.expect("a row").0.end.expect("an end")
    };
    assert_eq!(end("ap_1").await, ended_at(1_400));
    assert_eq!(
        (&*end("ap_3").await.code, end("ap_3").await.at_ms),
        ("expired", 2_000)
    );
    note(&store, "ap_1", Transition::Ended).await;
    note(&store, "ap_3", Transition::Ended).await;
    let use_id = "au_1".into();
    note(&store, "ap_2", Transition::Doubted { use_id }).await;
    assert!(lacks(&store).await.is_empty());
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_brought_up_to_date() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = Migration::new(
        1,
        Cow::Borrowed("approvals"),
        MigrationType::Simple,
        SqlStr::from_static(include_str!(
            "../../../migrations/approvals/0001_approvals.sql"
        )),
        false,
    );
    let first = Migrator {
        migrations: Cow::Owned(vec![first]),
        ..Migrator::DEFAULT
    };
    let path = directory.path().join(FILE);
    let (mut connection, _) = connect(&path, first).await.expect("made");
    let add = "INSERT INTO approvals (tenant, id, digest, caller, state, created_ms, expires_ms, uses_left, recorded, key_id, sealed) \
               VALUES ('a', ?, zeroblob(32), zeroblob(32), ?, 1000, 2000, 1, ?, 'k', zeroblob(7))";
    for (id, state, recorded) in [
        ("ap_1", "approved", 3),
        ("ap_2", "denied", 1),
        ("ap_3", "revoked", 7),
        ("ap_4", "cancelled", 3),
        ("ap_5", "pending", 1),
    ] {
        let query = sqlx::query(add).bind(id).bind(state).bind(recorded);
        query.execute(&mut connection).await.expect("added");
    }
    let decide = "INSERT INTO approval_decisions (tenant, approval, operator_id, operator, approves, decided_ms, shown, reason) \
                  VALUES ('a', ?, 'ann', 'ann', 1, 1100, 's', 'r')";
    for id in ["ap_1", "ap_2"] {
        let query = sqlx::query(decide).bind(id);
        query.execute(&mut connection).await.expect("added");
    }
    drop(connection);
    let store = ApprovalStore::new(directory.path());
    assert_eq!(lacks(&store).await, ["ap_2", "ap_4"].map(Arc::from));
    let found = store.get(&tenant(), "ap_1").await.expect("read");
    assert!(found.expect("a row").1.iter().all(|it| it.is_recorded));
    // Three have ended, with seven bytes each.
    let removed = store.prune_to(&tenant(), 7, 3_000, 10).await;
    assert_eq!(removed.expect("pruned"), 2);
}
