//! Approvals in the audit log: what was asked for, who decided, how it ended.

use std::time::SystemTime;

use keepgate_audit::{Caller, Kind, Log, Reason, Record};
use keepgate_store::approvals::{ApprovalRow, ApprovalState, DecisionRow};

use crate::{CallDigest, FrozenCall};

/// Writes that a call waits for a decision. Whether it is in the log.
pub(crate) async fn requested(
    log: &Log,
    row: &ApprovalRow,
    call: Option<&FrozenCall>,
    at: SystemTime,
) -> bool {
    let reasons = call.into_iter().flat_map(|call| &call.requirement.reasons);
    let reasons: Vec<_> = reasons
        .map(|(code, message)| Reason { code, message })
        .collect();
    let shown = call.map(FrozenCall::shown);
    let record = Record {
        caller: call.map(|call| Caller {
            kind: &call.caller.kind,
            user_id: &call.caller.subject,
            issuer: call.caller.issuer.as_deref(),
            client_id: call.caller.client.as_deref(),
            key_id: call.caller.key.as_deref(),
        }),
        policy_rev: call.map(|call| &*call.requirement.policy),
        reasons: &reasons,
        call_digest: Some(&CallDigest::text(&row.digest)),
        shown: shown.as_deref(),
        ..of(Kind::ApprovalRequested, row, call, at)
    };
    append(log, &record).await
}

/// A decision of one operator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecisionNote<'a> {
    /// Name of the operator.
    pub(crate) operator: &'a str,
    /// Whether it is a yes.
    pub(crate) approves: bool,
    /// State of the request after it.
    pub(crate) state: ApprovalState,
    /// Whether the operator may be the caller.
    pub(crate) may_be_caller: bool,
    /// Digest of what was shown.
    pub(crate) shown: &'a str,
    /// The operator's reason.
    pub(crate) reason: &'a str,
}

impl<'a> DecisionNote<'a> {
    /// The note of a decision over a call.
    pub(crate) fn of(
        decision: &'a DecisionRow,
        row: &ApprovalRow,
        call: Option<&FrozenCall>,
    ) -> Self {
        Self {
            operator: &decision.operator,
            approves: decision.approves,
            state: decision.state.unwrap_or(row.state),
            may_be_caller: call.is_none_or(|call| call.caller.owner.is_none()),
            shown: &decision.shown,
            reason: &decision.reason,
        }
    }
}

/// Writes a decision. Whether it is in the log.
pub(crate) async fn decided(
    log: &Log,
    row: &ApprovalRow,
    call: Option<&FrozenCall>,
    note: DecisionNote<'_>,
    at: SystemTime,
) -> bool {
    let mut reasons = vec![
        Reason {
            code: if note.approves { "approve" } else { "deny" },
            message: note.reason,
        },
        Reason {
            code: "state",
            message: note.state.as_str(),
        },
    ];
    if note.may_be_caller {
        reasons.push(Reason {
            code: "self",
            message: "possible",
        });
    }
    let record = Record {
        caller: Some(operator(note.operator)),
        reasons: &reasons,
        call_digest: Some(&CallDigest::text(&row.digest)),
        shown: Some(note.shown),
        ..of(Kind::ApprovalDecided, row, call, at)
    };
    append(log, &record).await
}

/// Writes that a call uses an approval, before it is made: `decision_id` names that call. Whether it is in the log.
pub(crate) async fn consumed(
    log: &Log,
    row: &ApprovalRow,
    call: &FrozenCall,
    (decision_id, shown): (&str, &str),
    at: SystemTime,
) -> bool {
    let record = Record {
        decision_id: Some(decision_id),
        call_digest: Some(&CallDigest::text(&row.digest)),
        shown: Some(shown),
        policy_rev: Some(&call.requirement.policy),
        ..of(Kind::ApprovalConsumed, row, Some(call), at)
    };
    append(log, &record).await
}

/// Writes an end that no decision made: of time, by a kill, by an operator, by a crash. Whether it is in the log.
pub(crate) async fn ended(
    log: &Log,
    row: &ApprovalRow,
    call: Option<&FrozenCall>,
    by: Option<&str>,
    why: (&str, &str),
    at: SystemTime,
) -> bool {
    let reasons = [Reason {
        code: why.0,
        message: why.1,
    }];
    let record = Record {
        caller: by.map(operator),
        reasons: &reasons,
        call_digest: Some(&CallDigest::text(&row.digest)),
        ..of(Kind::ApprovalEnded, row, call, at)
    };
    append(log, &record).await
}

fn operator(name: &str) -> Caller<'_> {
    Caller {
        kind: "operator",
        user_id: name,
        key_id: None,
        issuer: None,
        client_id: None,
    }
}

fn of<'a>(
    kind: Kind,
    row: &'a ApprovalRow,
    call: Option<&'a FrozenCall>,
    at: SystemTime,
) -> Record<'a> {
    let subject = |method: &str| {
        let call = call.filter(|call| call.method.starts_with(method));
        call.and_then(|call| call.subject.as_deref())
    };
    Record {
        approval: Some(&row.id),
        tenant: Some(row.tenant.as_str()),
        decision_id: call.map(|call| &*call.decision_id),
        server: call.map(|call| &*call.server),
        method: call.map(|call| &*call.method),
        tool_name: subject("tools/"),
        resource: subject("resources/"),
        prompt: subject("prompts/"),
        ..Record::new(kind, at)
    }
}

async fn append(log: &Log, record: &Record<'_>) -> bool {
    match log.append(record).await {
        Ok(_position) => true,
        Err(error) => {
            tracing::error!(%error, approval = record.approval, "a transition of an approval is not recorded yet");
            false
        }
    }
}
