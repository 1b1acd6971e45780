//! Notifications as they come due.

use super::{CAPS, TERMS, approve, decision, ended_at, row, store, tenant};
use crate::approvals::{ApprovalRow, ApprovalStore, NoticeSent, REQUEST_RECORDED, Transition};

/// Requests for approval that `ops` and `sec` are notified of.
async fn notified(numbers: &[u8]) -> (tempfile::TempDir, ApprovalStore) {
    let (directory, store) = store(&[]).await;
    for number in numbers {
        let targets = vec!["ops".into(), "sec".into()];
        let inserted = store.insert_notifying(row(*number), targets, &CAPS).await;
        inserted.expect("inserted");
    }
    (directory, store)
}

/// The approvals of which something is due to a target at this time, and the last event it has got of each.
async fn due(store: &ApprovalStore, target: &str, now_ms: u64) -> Vec<(String, u32)> {
    let due = store.due_notices(&tenant(), target, "", now_ms, 10).await;
    let due = due.expect("read").into_iter();
    due.map(|it| (it.approval.to_string(), it.sent)).collect()
}

async fn note(store: &ApprovalStore, target: &str, row: &ApprovalRow, sent: NoticeSent) {
    let noted = store.note_notice(&tenant(), target, &row.id, sent).await;
    noted.expect("noted");
}

#[tokio::test]
async fn nothing_is_due_before_it_is_on_record() {
    let (_directory, store) = notified(&[1]).await;
    let row = row(1);
    assert_eq!(due(&store, "ops", row.created_ms).await, []);
    let recorded = Transition::Requested;
    let noted = store.note_recorded(&tenant(), &row.id, &recorded).await;
    noted.expect("noted");
    let of = (row.id.to_string(), 0);
    let ops = due(&store, "ops", row.created_ms).await;
    assert_eq!(ops, std::slice::from_ref(&of));
    assert_eq!(due(&store, "sec", row.created_ms).await, [of]);
    assert_eq!(due(&store, "others", row.created_ms).await, []);
}

#[tokio::test]
async fn each_target_gets_each_event_once() {
    let (_directory, store) = notified(&[1]).await;
    let row = row(1);
    let id = row.id.to_string();
    let recorded = Transition::Requested;
    let noted = store.note_recorded(&tenant(), &row.id, &recorded).await;
    noted.expect("noted");
    let half = u64::midpoint(row.created_ms, row.expires_ms);

    note(&store, "ops", &row, NoticeSent::Event(1)).await;
    assert_eq!(due(&store, "ops", half - 1).await, []);
    assert_eq!(due(&store, "ops", half).await, [(id.clone(), 1)]);
    note(&store, "ops", &row, NoticeSent::Event(2)).await;
    assert_eq!(due(&store, "ops", row.expires_ms).await, []);

    let _approved = approve(&store, &row.id, row.created_ms + 1).await;
    assert_eq!(due(&store, "ops", half).await, [(id.clone(), 2)]);
    note(&store, "ops", &row, NoticeSent::Event(3)).await;
    assert_eq!(due(&store, "ops", half).await, []);
    // The other one has got nothing so far.
    assert_eq!(due(&store, "sec", half).await, [(id.clone(), 0)]);

    let ended = store.end(&tenant(), &row.id, ended_at(half)).await;
    ended.expect("ended");
    assert_eq!(due(&store, "ops", half).await, [(id.clone(), 3)]);
    note(&store, "ops", &row, NoticeSent::All).await;
    assert_eq!(due(&store, "ops", half).await, []);
    assert_eq!(due(&store, "sec", half).await, [(id, 0)]);
}

#[tokio::test]
async fn notifications_end_with_what_they_are_about() {
    let (_directory, store) = notified(&[1, 2]).await;
    let (old, used, tenant) = (row(1), row(2), tenant());
    let no = decision("ann", false, old.created_ms + 1);
    let denied = store.decide(&tenant, &old.id, no, &TERMS, |_| false);
    denied.await.expect("denied");
    let _approved = approve(&store, &used.id, used.created_ms + 1).await;
    note(&store, "ops", &used, NoticeSent::Event(3)).await;
    let at = used.created_ms + 2;
    let consumed = store.consume(&tenant, &used.id, ("au_1", "d"), None, at);
    consumed.await.expect("consumed").expect("a use").claim();
    let later = used.created_ms + 1 + TERMS.valid_ms;
    let pruned = store.prune_notices(&tenant, 0, later).await;
    pruned.expect("pruned");
    // Nobody has heard of the denial, and that of the use `sec` has not.
    assert_eq!(due(&store, "ops", later).await.len(), 1);
    assert_eq!(due(&store, "sec", later).await.len(), 2);
    let pruned = store.prune_notices(&tenant, u64::MAX / 2, later).await;
    pruned.expect("pruned");
    assert_eq!(due(&store, "sec", later).await, []);
    assert_eq!(REQUEST_RECORDED, 1, "as the statement has it");
}
