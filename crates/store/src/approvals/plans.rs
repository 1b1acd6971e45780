//! Plans of the statements: what is asked each second, or by each call, must not look through what has ended.

use keepgate_call::Tenant;
use sqlx::Row;

use super::{ApprovalStore, statements};

/// The partial index by which each of these finds its rows: by the key of the table it would look through all of a tenant.
const INDEXES: [(&str, &str); 13] = [
    ("COUNTS", "approvals_pending_of_caller"),
    ("EXPIRE_PENDING", "approvals_pending"),
    ("EXPIRE_APPROVED", "approvals_approved"),
    ("LIVE", "approvals_live"),
    ("BOUND", "approvals_of_session"),
    ("UNRECORDED", "approvals_unrecorded"),
    ("UNRECORDED", "approval_decisions_unrecorded"),
    ("UNRECORDED", "approval_uses_unrecorded"),
    ("DOUBTS", "approval_uses_unrecorded"),
    ("SHARES", "approval_shares_ended"),
    ("OVER_OF_CALLER", "approvals_over_of_caller"),
    ("OVER", "approvals_over"),
    ("ABANDON", "approval_uses_open"),
];

#[tokio::test]
async fn no_statement_looks_through_all_that_has_ended() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = ApprovalStore::new(directory.path());
    let none = store.state(&Tenant::new("a"), "ap_1").await;
    assert_eq!(none.expect("read"), None);
    let mut connection = store.connection().await.expect("free");
    let database = connection.database().await.expect("open");
    let (mut scans, mut indexes) = (Vec::new(), Vec::<&(&str, &str)>::new());
    for (name, sql) in statements::ALL {
        let text: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {sql}").into_boxed_str());
        let plan = sqlx::query(text).fetch_all(&mut database.connection).await;
        for step in plan.unwrap_or_else(|error| panic!("{name}: {error}")) {
            let step: String = step.try_get("detail").expect("a detail");
            // One row for each tenant and state; and none at all.
            let few = ["SCAN approval_totals", "SCAN CONSTANT ROW"];
            if step.contains("SCAN") && !few.contains(&&*step) {
                scans.push(format!("{name}: {step}"));
            }
            let named = |(of, index): &&(&str, &str)| of == name && step.contains(index);
            indexes.extend(INDEXES.iter().find(named));
        }
    }
    indexes.dedup();
    assert_eq!(indexes.len(), INDEXES.len(), "{indexes:?}");
    assert!(statements::ALL.len() > 25, "they are all there");
    assert_eq!(scans, [""; 0]);
}
