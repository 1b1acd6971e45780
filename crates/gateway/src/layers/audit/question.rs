//! Questions of servers on record.

use std::{sync::Arc, time::SystemTime};

use keepgate_audit::{Decision, Kind, Reason};
use keepgate_call::Call;

use super::{
    describe::describe,
    repeat::{Refusals, Refused, Written},
};

/// Writes what was decided of a question the server asks the client; equal ones share records. Nobody waits for it: the question is no call.
pub(in crate::layers) fn question(
    refusals: &Refusals,
    call: &Call,
    method: &str,
    allowed: bool,
    policy: &str,
    reasons: &[(Arc<str>, Arc<str>)],
) {
    let now = SystemTime::now();
    let rule = reasons.first().map(|(code, _)| &**code);
    let refused = Refused::question(call, method, allowed, rule);
    let repeat = match refusals.note(refused, call.id, now) {
        Written::Own => None,
        Written::First(repeat) => Some(repeat),
        Written::Counted(_) | Written::Cause { .. } => return,
    };
    let described = describe(call);
    let mut record = described.record(Kind::ServerRequest, now);
    record.repeat = repeat;
    record.method = Some(method);
    record.initiated_by = Some("server");
    record.decision = Some(if allowed {
        Decision::Allow
    } else {
        Decision::Deny
    });
    record.policy_rev = Some(policy);
    let reasons: Vec<Reason<'_>> = reasons
        .iter()
        .map(|(code, message)| Reason { code, message })
        .collect();
    record.reasons = &reasons;
    refusals.log().post(&record);
}
