//! Transitions of approvals, each from the state it starts from and no other.

use std::sync::Arc;

use keepgate_call::Tenant;

use super::{
    ApprovalEnd, ApprovalRow, ApprovalState, ApprovalStore, CallKey, Caps, Decided, DecisionRow,
    Insertion, PageQuery, TakenUse, Terms,
};

const CAPS: Caps = Caps {
    pending: 3,
    requests: 5,
    window_ms: 60_000,
    all: 100,
    bytes: 1_000,
    caller_bytes: 1_000,
};
const TERMS: Terms = Terms {
    valid_ms: 1_000,
    cooldown_ms: 500,
};

fn tenant() -> Tenant {
    Tenant::new("a")
}

fn row(number: u8) -> ApprovalRow {
    ApprovalRow {
        tenant: tenant(),
        id: format!("ap_{number}").into(),
        digest: [number; 32],
        caller: [0; 32],
        state: ApprovalState::Pending,
        created_ms: 1_000,
        expires_ms: 2_000,
        decided_ms: None,
        usable_until_ms: None,
        not_before_ms: None,
        session: None,
        uses_left: 1,
        cooldown_until_ms: None,
        end: None,
        recorded: 0,
        key_id: "k".into(),
        sealed: Box::from([1, 2, 3]),
    }
}

fn key(number: u8) -> CallKey {
    CallKey {
        digest: [number; 32],
        session: None,
    }
}

fn decision(operator: &str, approves: bool, at: u64) -> DecisionRow {
    DecisionRow {
        operator_id: operator.into(),
        operator: operator.into(),
        approves,
        decided_ms: at,
        shown: "s".into(),
        reason: "r".into(),
        state: None,
        is_recorded: false,
    }
}

fn ended_at(at_ms: u64) -> ApprovalEnd {
    ApprovalEnd {
        at_ms,
        by: Some("ann".into()),
        code: "operator".into(),
        message: "looked".into(),
    }
}

/// A store with these rows in it.
async fn store(rows: &[ApprovalRow]) -> (tempfile::TempDir, ApprovalStore) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = ApprovalStore::new(directory.path());
    for row in rows {
        let inserted = store.insert(row.clone(), &CAPS).await.expect("inserted");
        assert_eq!(inserted, Insertion::Inserted, "{row:?}");
    }
    (directory, store)
}

async fn approve(store: &ApprovalStore, id: &str, at: u64) -> Decided {
    let (tenant, decision) = (tenant(), decision("ann", true, at));
    let decided = store.decide(&tenant, id, decision, &TERMS, |all| !all.is_empty());
    decided.await.expect("decided")
}

async fn state(store: &ApprovalStore, id: &str) -> ApprovalState {
    let found = store.state(&tenant(), id).await.expect("read");
    found.expect("a row")
}

/// Number of open requests.
async fn open(store: &ApprovalStore) -> u64 {
    let totals = store.totals().await.expect("totals").into_iter();
    let open = totals.filter(|(_, state, _)| state.is_open());
    open.map(|(_, _, requests)| requests).sum()
}

#[tokio::test]
async fn an_identical_request_is_joined_and_limits_hold() {
    let (_directory, store) = store(&[row(1), row(2)]).await;
    let insert =
        async |row: &ApprovalRow| store.insert(row.clone(), &CAPS).await.expect("inserted");
    let mut twin = row(3);
    twin.digest = [1; 32];
    assert_eq!(insert(&twin).await, Insertion::Joined("ap_1".into()));
    // Another tenant's is another request.
    twin.tenant = Tenant::new("b");
    assert_eq!(insert(&twin).await, Insertion::Inserted);
    assert_eq!(insert(&row(4)).await, Insertion::Inserted);
    assert_eq!(insert(&row(5)).await, Insertion::PendingCap);
    for id in ["ap_1", "ap_2", "ap_4"] {
        store
            .end(&tenant(), id, ended_at(1_100))
            .await
            .expect("ended");
    }
    assert_eq!(insert(&row(5)).await, Insertion::Inserted);
    assert_eq!(insert(&row(6)).await, Insertion::Inserted);
    assert_eq!(insert(&row(7)).await, Insertion::RateCap);
    let mut later = row(7);
    later.created_ms += CAPS.window_ms;
    assert_eq!(insert(&later).await, Insertion::Inserted);
    let mut other = row(8);
    other.caller = [9; 32];
    let full = Caps { all: 3, ..CAPS };
    let refused = store.insert(other.clone(), &full).await.expect("inserted");
    assert_eq!(refused, Insertion::Full);
    // What one tenant has waiting takes nothing from another.
    let mut foreign = other.clone();
    (foreign.tenant, foreign.id) = (Tenant::new("c"), "ap_c".into());
    let inserted = store.insert(foreign, &full).await.expect("inserted");
    assert_eq!(inserted, Insertion::Inserted);
    let heavy = Caps { bytes: 9, ..CAPS };
    let refused = store.insert(other.clone(), &heavy).await.expect("inserted");
    assert_eq!(refused, Insertion::Full);
    assert_eq!(insert(&other).await, Insertion::Inserted);
}

#[tokio::test]
async fn decisions_count_once_while_the_request_waits() {
    let (_directory, store) = store(&[row(1), row(2), row(3)]).await;
    let decide = async |id: &str, operator: &str, approves, at, needed: usize| {
        let (tenant, decision) = (tenant(), decision(operator, approves, at));
        let decided = store.decide(&tenant, id, decision, &TERMS, move |all| {
            all.len() >= needed
        });
        decided.await.expect("decided")
    };
    let counted = |decided: Decided| match decided {
        Decided::Counted(row, _) => row,
        other @ (Decided::Twice | Decided::Closed(_) | Decided::Unknown) => panic!("{other:?}"),
    };
    assert_eq!(
        counted(decide("ap_1", "ann", true, 1_100, 2).await).state,
        ApprovalState::Pending
    );
    assert_eq!(decide("ap_1", "ann", true, 1_200, 2).await, Decided::Twice);
    assert_eq!(decide("ap_1", "ann", false, 1_200, 2).await, Decided::Twice);
    let approved = counted(decide("ap_1", "bob", true, 1_300, 2).await);
    assert_eq!(approved.state, ApprovalState::Approved);
    assert_eq!(approved.usable_until_ms, Some(2_300));
    assert_eq!(
        decide("ap_1", "zoe", false, 1_400, 2).await,
        Decided::Closed(ApprovalState::Approved)
    );
    // The first no is enough.
    let denied = counted(decide("ap_2", "ann", false, 1_100, 2).await);
    assert_eq!(
        (denied.state, denied.cooldown_until_ms),
        (ApprovalState::Denied, Some(1_600))
    );
    // Its time is over, noted or not.
    assert_eq!(
        decide("ap_3", "ann", true, 2_000, 1).await,
        Decided::Closed(ApprovalState::Expired)
    );
    assert_eq!(
        decide("ap_9", "ann", true, 1_100, 1).await,
        Decided::Unknown
    );
    let (other, yes) = (Tenant::new("b"), decision("ann", true, 1_100));
    let foreign = store.decide(&other, "ap_3", yes, &TERMS, |_| true);
    assert_eq!(foreign.await.expect("decided"), Decided::Unknown);
}

#[tokio::test]
async fn a_use_is_taken_once_and_given_back_when_nothing_was_sent() {
    let mut two = row(2);
    two.uses_left = 2;
    let (_directory, store) = store(&[row(1), two]).await;
    let consume = async |id: &str, use_id: &str, at| {
        let taken = store.consume(&tenant(), id, (use_id, "d"), None, at).await;
        taken.expect("consumed").map(TakenUse::claim).is_some()
    };
    assert!(!consume("ap_1", "au_0", 1_100).await, "nobody has decided");
    approve(&store, "ap_1", 1_200).await;
    assert!(!consume("ap_1", "au_0", 2_200).await, "its time is over");
    assert!(consume("ap_1", "au_1", 1_300).await);
    assert_eq!(state(&store, "ap_1").await, ApprovalState::Consumed);
    assert!(!consume("ap_1", "au_2", 1_300).await);
    store
        .settle(&tenant(), "au_1", false, 1_400)
        .await
        .expect("settled");
    assert_eq!(state(&store, "ap_1").await, ApprovalState::Approved);
    // Only once.
    store
        .settle(&tenant(), "au_1", false, 1_400)
        .await
        .expect("settled");
    assert!(consume("ap_1", "au_3", 1_500).await);
    store
        .settle(&tenant(), "au_3", true, 1_600)
        .await
        .expect("settled");
    assert_eq!(state(&store, "ap_1").await, ApprovalState::Consumed);
    assert!(!consume("ap_1", "au_4", 1_700).await);

    approve(&store, "ap_2", 1_200).await;
    assert!(consume("ap_2", "au_5", 1_300).await);
    assert_eq!(state(&store, "ap_2").await, ApprovalState::Approved);
    assert_eq!(
        store
            .end(&tenant(), "ap_2", ended_at(1_400))
            .await
            .expect("ended"),
        Some(ApprovalState::Revoked)
    );
    store
        .settle(&tenant(), "au_5", false, 1_500)
        .await
        .expect("settled");
    assert_eq!(
        state(&store, "ap_2").await,
        ApprovalState::Revoked,
        "nothing comes back"
    );
    assert!(!consume("ap_2", "au_6", 1_500).await);
}

/// Of two that race exactly one wins, whichever way the other transition goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_race_one_wins() {
    for round in 0..50_u8 {
        let mut racing = row(round);
        racing.created_ms = u64::from(round) * 100_000;
        racing.expires_ms = racing.created_ms + 1_000;
        let (_directory, store) = store(&[racing.clone()]).await;
        let (id, at, of) = (&*racing.id, racing.created_ms + 10, tenant());
        let late = racing.expires_ms;
        // Expiry against a decision at the last moment.
        let (decided, expired) =
            tokio::join!(approve(&store, id, late - 1), store.expire(&of, late, 10));
        let (approved, expired) = (
            matches!(decided, Decided::Counted(..)),
            !expired.expect("expired").is_empty(),
        );
        assert!(approved != expired, "{round}");
        if expired {
            continue;
        }
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let (store, id) = (store.clone(), Arc::clone(&racing.id));
                tokio::spawn(async move {
                    let use_id = format!("au_{number}");
                    let taken = store
                        .consume(&tenant(), &id, (&use_id, "d"), None, at)
                        .await;
                    taken.expect("consumed").map(TakenUse::claim).is_some()
                })
            })
            .collect();
        let revoked = store
            .end(&tenant(), id, ended_at(at))
            .await
            .expect("ended")
            .is_some();
        let mut taken = 0;
        for task in tasks {
            taken += usize::from(task.await.expect("a task"));
        }
        // A use under way is revoked too, and nothing comes of it any more.
        assert!(taken <= 1 && (taken == 1 || revoked), "{round}");
    }
}

#[tokio::test]
async fn a_revocation_holds_for_a_use_under_way() {
    let (_directory, store) = store(&[row(1)]).await;
    approve(&store, "ap_1", 1_200).await;
    let taken = store
        .consume(&tenant(), "ap_1", ("au_1", "d"), None, 1_300)
        .await;
    taken.expect("consumed").expect("taken").claim();
    let ended = store
        .end(&tenant(), "ap_1", ended_at(1_400))
        .await
        .expect("ended");
    assert_eq!(ended, Some(ApprovalState::Revoked));
    store
        .settle(&tenant(), "au_1", false, 1_500)
        .await
        .expect("settled");
    assert_eq!(state(&store, "ap_1").await, ApprovalState::Revoked);
}

#[tokio::test]
async fn what_is_found_is_what_decides() {
    let (_directory, store) = store(&[row(1)]).await;
    let find = async |at| {
        let found = store.find(&tenant(), &key(1), at).await.expect("found");
        found.map(|(row, _)| row.state)
    };
    assert_eq!(find(1_500).await, Some(ApprovalState::Pending));
    assert_eq!(find(2_000).await, None, "its time is over");
    approve(&store, "ap_1", 1_900).await;
    assert_eq!(find(2_100).await, Some(ApprovalState::Approved));
    assert_eq!(find(2_900).await, None, "it was not used in time");
    let foreign = store.find(&Tenant::new("b"), &key(1), 2_100).await;
    assert_eq!(foreign.expect("found"), None);
    let expired = store.expire(&tenant(), 2_900, 10).await.expect("expired");
    assert_eq!(expired.len(), 1);
    assert_eq!(state(&store, "ap_1").await, ApprovalState::Expired);
}

/// Gives a row the digest of another, as of two replicas, or an earlier version, that asked twice.
async fn same_call(store: &ApprovalStore, id: &str) {
    let mut connection = store.connection().await.expect("free");
    let database = connection.database().await.expect("open");
    let query = sqlx::query("UPDATE approvals SET digest = ? WHERE id = ?");
    let done = query.bind(&[1_u8; 32][..]).bind(id);
    done.execute(&mut database.connection).await.expect("done");
}

async fn deny(store: &ApprovalStore, id: &str, at: u64) -> Decided {
    let (tenant, decision) = (tenant(), decision("bob", false, at));
    let decided = store.decide(&tenant, id, decision, &TERMS, |_| false);
    decided.await.expect("decided")
}

/// A yes in each state it can be in when a no to the same call comes, and its state after.
#[tokio::test]
async fn a_no_takes_back_each_older_yes_to_the_same_call() {
    use ApprovalState::{Approved, Consumed, Revoked};
    // Uses, of these taken, whether the first was sent; is it denied with the digest, or has it been before.
    let cases = [
        (1, 0, false, Revoked, Approved),
        (2, 1, false, Revoked, Approved),
        (1, 1, false, Revoked, Consumed),
        (1, 1, true, Consumed, Consumed),
    ];
    for (uses, taken, is_sent, by_a_no, after_a_no) in cases {
        for is_before in [false, true] {
            let case = (uses, taken, is_sent, is_before);
            let mut older = row(1);
            older.uses_left = uses;
            let (_directory, store) = store(&[older, row(2)]).await;
            approve(&store, "ap_1", 1_200).await;
            if taken > 0 {
                let taken = store
                    .consume(&tenant(), "ap_1", ("au_1", "d"), None, 1_250)
                    .await;
                taken.expect("consumed").expect("taken").claim();
            }
            let settle = async |sent| {
                let settled = store.settle(&tenant(), "au_1", sent, 1_400).await;
                settled.expect("settled");
            };
            if is_sent {
                settle(true).await;
            }
            if !is_before {
                same_call(&store, "ap_2").await;
            }
            let denied = deny(&store, "ap_2", 1_300).await;
            same_call(&store, "ap_2").await;
            let expected = if is_before { after_a_no } else { by_a_no };
            assert_eq!(state(&store, "ap_1").await, expected, "{case:?}");
            let Decided::Counted(_, overtaken) = denied else {
                panic!("{case:?}: {denied:?}");
            };
            let was_taken_back = expected == Revoked;
            assert_eq!(!overtaken.is_empty(), was_taken_back, "{case:?}");
            // What was taken is given back, and is no yes any more: neither while the denial counts nor after.
            settle(false).await;
            assert_eq!(state(&store, "ap_1").await, expected, "{case:?}");
            for (at, expected) in [(1_500, Some(ApprovalState::Denied)), (1_900, None)] {
                let found = store.find(&tenant(), &key(1), at).await.expect("found");
                assert_eq!(found.map(|(row, _)| row.state), expected, "{case:?} {at}");
                let again = store
                    .consume(&tenant(), "ap_1", ("au_2", "d"), None, at)
                    .await;
                assert!(again.expect("answered").is_none(), "{case:?} {at}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_asked_while_a_decision_counts_or_a_use_may_come_back() {
    let (_directory, store) = store(&[row(1)]).await;
    let ask = async |number, at| {
        let mut row = row(number);
        (row.digest, row.created_ms, row.expires_ms) = ([1; 32], at, at + 1_000);
        store.insert(row, &CAPS).await.expect("answered")
    };
    let joined = Insertion::Joined("ap_1".into());
    assert_eq!(ask(2, 1_100).await, joined);
    approve(&store, "ap_1", 1_200).await;
    assert_eq!(ask(2, 1_300).await, Insertion::Decided);
    let taken = store
        .consume(&tenant(), "ap_1", ("au_1", "d"), None, 1_300)
        .await;
    taken.expect("consumed").expect("taken").claim();
    let in_use = Insertion::InUse("ap_1".into());
    assert_eq!(ask(2, 1_400).await, in_use);
    assert_eq!(ask(2, 2_500).await, in_use, "also when its time is over");
    let mut other = row(3);
    other.digest = [3; 32];
    let other = store.insert(other, &CAPS).await.expect("answered");
    assert_eq!(other, Insertion::Inserted, "another call");
    let settled = store.settle(&tenant(), "au_1", true, 2_500).await;
    settled.expect("settled");
    assert_eq!(ask(2, 2_600).await, Insertion::Inserted);
    deny(&store, "ap_2", 2_700).await;
    assert_eq!(ask(4, 2_800).await, Insertion::Decided);
    assert_eq!(ask(4, 3_200).await, Insertion::Inserted);
    // One that was sent comes back no more, however long its call takes.
    approve(&store, "ap_4", 3_300).await;
    let taken = store
        .consume(&tenant(), "ap_4", ("au_2", "d"), None, 3_400)
        .await;
    taken.expect("consumed").expect("taken").claim();
    assert!(store.send(&tenant(), "au_2", 3_500).await.expect("sent"));
    assert_eq!(ask(5, 3_600).await, Insertion::Inserted);
}

#[tokio::test]
async fn pages_follow_each_other_newest_first() {
    let rows = (0..3_u8).map(|number| {
        let mut row = row(number);
        // Two of the same moment.
        row.created_ms = 1_000 + u64::from(number / 2);
        row
    });
    let rows: Vec<_> = rows.collect();
    let (_directory, store) = store(&rows).await;
    let mut query = PageQuery {
        states: vec![ApprovalState::Pending],
        after: None,
        limit: 1,
    };
    let mut seen = Vec::new();
    while let [row] = &store.page(&tenant(), &query).await.expect("a page")[..] {
        query.after = Some((row.created_ms, Arc::clone(&row.id)));
        seen.push(row.id.to_string());
    }
    assert_eq!(seen, ["ap_2", "ap_1", "ap_0"]);
    query = PageQuery {
        states: vec![ApprovalState::Approved, ApprovalState::Denied],
        after: None,
        limit: 10,
    };
    assert!(
        store
            .page(&tenant(), &query)
            .await
            .expect("a page")
            .is_empty()
    );
    query.states.clear();
    assert_eq!(
        store.page(&tenant(), &query).await.expect("a page").len(),
        3
    );
}

#[tokio::test]
async fn what_an_earlier_process_left_is_indeterminate() {
    let (directory, store) = store(&[row(1)]).await;
    approve(&store, "ap_1", 1_200).await;
    let taken = store
        .consume(&tenant(), "ap_1", ("au_1", "d"), None, 1_300)
        .await;
    taken.expect("consumed").expect("taken").claim();
    drop(store);
    let store = ApprovalStore::new(directory.path());
    for at in [1_400, 1_500] {
        store.abandon_uses(at).await.expect("abandoned");
        let doubts = store.doubts(&tenant(), "ap_1").await.expect("read");
        let [doubt] = &doubts[..] else {
            panic!("{doubts:?}");
        };
        assert_eq!((&*doubt.use_id, &*doubt.decision_id), ("au_1", "d"));
    }
    // It is not given back: the call may have been made.
    store
        .settle(&tenant(), "au_1", false, 1_500)
        .await
        .expect("settled");
    assert_eq!(state(&store, "ap_1").await, ApprovalState::Consumed);
}

#[tokio::test]
async fn a_file_that_was_replaced_takes_nothing() {
    let (directory, store) = store(&[row(1)]).await;
    let path = directory.path().join(super::FILE);
    std::fs::rename(&path, directory.path().join("away")).expect("moved");
    assert!(store.insert(row(2), &CAPS).await.is_err());
    assert!(
        store
            .consume(&tenant(), "ap_1", ("au_1", "d"), None, 1_100)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn what_is_over_is_removed_after_its_time() {
    let (_directory, store) = store(&[row(1), row(2)]).await;
    store
        .end(&tenant(), "ap_1", ended_at(1_100))
        .await
        .expect("ended");
    assert_eq!(
        store.prune(&tenant(), 1_100, 0, 10).await.expect("pruned"),
        0
    );
    assert_eq!(
        store.prune(&tenant(), 1_101, 0, 10).await.expect("pruned"),
        1
    );
    assert_eq!(open(&store).await, 1);
}

#[tokio::test]
async fn what_is_over_takes_so_much_room_and_the_oldest_goes_first() {
    let rows = (0..3_u8).map(|number| {
        let mut row = row(number);
        row.created_ms = 1_000 + u64::from(number);
        row
    });
    let rows: Vec<_> = rows.collect();
    let (_directory, store) = store(&rows).await;
    for id in ["ap_0", "ap_1"] {
        store
            .end(&tenant(), id, ended_at(1_100))
            .await
            .expect("ended");
    }
    // Each has three bytes, and one still waits.
    assert_eq!(
        store.prune_to(&tenant(), 6, 0, 10).await.expect("pruned"),
        0
    );
    assert_eq!(
        store.prune_to(&tenant(), 5, 0, 10).await.expect("pruned"),
        1
    );
    let gone = store.get(&tenant(), "ap_0").await.expect("read");
    assert!(gone.is_none());
    assert_eq!(
        store.prune_to(&tenant(), 0, 0, 10).await.expect("pruned"),
        1
    );
    assert_eq!(open(&store).await, 1);
}

#[tokio::test]
async fn a_denial_stays_for_its_cooldown() {
    let (_directory, store) = store(&[row(1)]).await;
    let (tenant, no) = (tenant(), decision("ann", false, 1_100));
    let denied = store.decide(&tenant, "ap_1", no, &TERMS, |_| false);
    assert!(matches!(denied.await, Ok(Decided::Counted(..))));
    // It counts until 1,600.
    let prune = async |now| store.prune_to(&tenant, 0, now, 10).await.expect("pruned");
    assert_eq!(prune(1_599).await, 0);
    let early = store.prune(&tenant, u64::MAX, 1_599, 10).await;
    assert_eq!(early.expect("pruned"), 0);
    assert_eq!(prune(1_600).await, 1);
}

mod grants;
mod notices;
mod recorded;
mod shares;
