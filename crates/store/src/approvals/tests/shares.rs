//! Room of callers: one takes none of another.

use super::{ApprovalRow, CAPS, ended_at, row, store, tenant};
use crate::approvals::{ApprovalState, Caps, Insertion, PageQuery};

/// A request of a caller, with so many bytes.
fn asked(number: u8, caller: u8, bytes: usize) -> ApprovalRow {
    let mut row = row(number);
    row.caller = [caller; 32];
    row.created_ms += u64::from(number);
    row.sealed = vec![0; bytes].into();
    row
}

#[tokio::test]
async fn a_caller_that_asks_much_loses_its_own_history_alone() {
    // The oldest are of those who have asked once.
    let mut rows = vec![asked(1, 1, 10), asked(2, 2, 21)];
    rows.extend((3..8).map(|number| asked(number, 3, 10)));
    let caps = Caps {
        pending: 10,
        requests: 10,
        ..CAPS
    };
    let (_directory, store) = store(&[]).await;
    for row in &rows {
        let inserted = store.insert(row.clone(), &caps).await.expect("inserted");
        assert_eq!(inserted, Insertion::Inserted);
        let ended = ended_at(1_100 + row.created_ms);
        store.end(&tenant(), &row.id, ended).await.expect("ended");
    }
    let kept = async |bytes| {
        store
            .prune_to(&tenant(), bytes, 0, 10)
            .await
            .expect("pruned");
        let query = PageQuery {
            states: vec![ApprovalState::Cancelled],
            after: None,
            limit: 10,
        };
        let page = store.page(&tenant(), &query).await.expect("a page");
        page.iter()
            .rev()
            .map(|row| row.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(81).await.len(), 7);
    assert_eq!(kept(61).await, ["ap_1", "ap_2", "ap_5", "ap_6", "ap_7"]);
    assert_eq!(kept(51).await, ["ap_1", "ap_2", "ap_6", "ap_7"]);
    // Now another has most.
    assert_eq!(kept(30).await, ["ap_1", "ap_6", "ap_7"]);
}

#[tokio::test]
async fn what_waits_of_a_caller_has_its_share_of_bytes() {
    let caps = Caps {
        caller_bytes: 15,
        ..CAPS
    };
    let (_directory, store) = store(&[]).await;
    let insert = async |row: ApprovalRow| store.insert(row, &caps).await.expect("answered");
    assert_eq!(insert(asked(1, 1, 10)).await, Insertion::Inserted);
    assert_eq!(insert(asked(2, 1, 10)).await, Insertion::Inserted);
    assert_eq!(insert(asked(3, 1, 1)).await, Insertion::BytesCap);
    assert_eq!(insert(asked(4, 2, 10)).await, Insertion::Inserted);
    store
        .end(&tenant(), "ap_1", ended_at(1_100))
        .await
        .expect("ended");
    assert_eq!(insert(asked(3, 1, 1)).await, Insertion::Inserted);
}
