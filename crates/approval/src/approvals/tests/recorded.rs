//! Records that the log did not take at once: each is written later, once, in order and as it was.

use keepgate_audit::Log;
use keepgate_call::Tenant;
use serde_json::Value;

use super::{Approvals, Gate, call, frozen, open, person};
use crate::Verdict;

impl Gate {
    /// The next process on the same state, with a log that takes records again.
    fn with_a_log(&self) -> Approvals {
        let settings = keepgate_audit::Settings::new(
            self.state.path().join("audit"),
            "keepgate/test".to_owned(),
            "node".to_owned(),
        );
        let log = Log::open(settings).expect("a log");
        open(self.state.path(), &log, &self.around)
    }

    /// Records about approvals, in order: kind, code of the first reason, who, and the state after it.
    fn all(&self) -> Vec<String> {
        let mut found = Vec::new();
        let directory = self.state.path().join("audit");
        keepgate_audit::look_back(
            &directory,
            std::time::SystemTime::UNIX_EPOCH,
            1_000,
            |json| {
                let record: Value = serde_json::from_str(json).expect("a record");
                let text = |pointer| {
                    record
                        .pointer(pointer)
                        .and_then(Value::as_str)
                        .unwrap_or("-")
                };
                let kind = text("/kind");
                if kind.starts_with("approval.") {
                    let parts = [
                        kind,
                        text("/reasons/0/code"),
                        text("/user_id"),
                        text("/reasons/1/message"),
                    ];
                    found.push(parts.join(" "));
                }
            },
        )
        .expect("a log");
        found
    }
}

async fn decide(approvals: &Approvals, id: &str, who: &str) -> &'static str {
    let (tenant, who) = (Tenant::new("a"), person(who));
    let view = approvals.show(&tenant, id).await.expect("read");
    let shown = view.and_then(|view| view.shown).unwrap_or_default();
    let decided = approvals.decide(&tenant, id, &who, Verdict::Approve, "looked", &shown);
    decided.await.expect("counts").state
}

#[tokio::test]
async fn each_decision_of_a_quorum_is_recorded_though_the_log_did_not_take_it() {
    let gate = Gate::new();
    let mut both = frozen();
    both.requirement.duties[0].quorum = 2;
    let id = gate.pending(both.clone()).await;
    gate.log.close();
    assert_eq!(decide(&gate.approvals, &id, "ann").await, "pending");
    let next = gate.with_a_log();
    assert!(next.enter(&call(), both.clone(), &()).await.is_err());
    assert_eq!(decide(&next, &id, "bob").await, "approved");
    let expected = [
        "approval.requested destructive agent -",
        "approval.decided approve ann pending",
        "approval.decided approve bob approved",
    ];
    assert_eq!(gate.all(), expected);
    next.tend().await.expect("tended");
    assert!(next.enter(&call(), both, &()).await.is_ok());
    assert_eq!(gate.all()[..3], expected, "once each");
    assert_eq!(gate.all().len(), 4);
}

#[tokio::test]
async fn nothing_is_used_while_a_decision_is_not_on_record() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    gate.log.close();
    assert_eq!(decide(&gate.approvals, &id, "ann").await, "approved");
    assert!(gate.enter(frozen()).await.is_err());
    let next = gate.with_a_log();
    assert!(next.enter(&call(), frozen(), &()).await.is_err());
    next.tend().await.expect("tended");
    assert!(next.enter(&call(), frozen(), &()).await.is_ok());
}

/// Something that ends what waits, and its record.
type End = (fn(&super::Around), Option<&'static str>, &'static str);

#[tokio::test]
async fn an_end_is_recorded_though_the_log_did_not_take_it() {
    let ends: [End; 3] = [
        (
            |around| around.pass(std::time::Duration::from_secs(900)),
            None,
            "approval.ended expired - -",
        ),
        (
            |around| around.kill("crm"),
            None,
            "approval.ended killed - -",
        ),
        (|_| {}, Some("ann"), "approval.ended operator ann -"),
    ];
    for (end, by, expected) in ends {
        let gate = Gate::new();
        let id = gate.pending(frozen()).await;
        gate.approvals.tend().await.expect("tended");
        gate.log.close();
        end(&gate.around);
        if let Some(by) = by {
            let tenant = Tenant::new("a");
            let revoked = gate.approvals.revoke(&tenant, &id, by, "early");
            revoked.await.expect("revoked");
        }
        gate.approvals.tend().await.expect("tended");
        assert_ne!(gate.state(&id).await, "pending", "{expected}");
        let next = gate.with_a_log();
        for _ in 0..2 {
            next.tend().await.expect("tended");
        }
        let all = gate.all();
        assert_eq!(all.len(), 2, "{all:?}");
        assert_eq!(all[1], expected);
    }
}

#[tokio::test]
async fn a_use_in_doubt_is_reported_though_the_log_did_not_take_it() {
    let gate = Gate::new();
    let id = gate.pending(frozen()).await;
    decide(&gate.approvals, &id, "ann").await;
    std::mem::forget(gate.enter(frozen()).await.expect("approved"));
    gate.log.close();
    // The next process finds it, and ends before it can report it.
    gate.restarted().tend().await.expect("tended");
    assert_eq!(gate.all().len(), 3);
    let next = gate.with_a_log();
    for _ in 0..2 {
        next.tend().await.expect("tended");
    }
    let all = gate.all();
    assert_eq!(all.len(), 4, "{all:?}");
    assert_eq!(all[3], "approval.ended indeterminate - -");
}
