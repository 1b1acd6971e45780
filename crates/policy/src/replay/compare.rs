//! Two decisions on one call: which of them allows more.

use std::collections::BTreeSet;

use serde_json::Value;

/// What differs between two decisions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// `deny -> allow`, `approval changed`, `obligations changed`.
    pub(super) kind: String,
    /// The later allows something the earlier did not.
    pub(super) widens: bool,
    /// The later allows less.
    pub(super) narrows: bool,
    /// The codes of the earlier.
    pub(super) before: Vec<String>,
    /// The codes of the later.
    pub(super) after: Vec<String>,
    /// What changed beside the effect.
    pub(super) details: Vec<String>,
}

/// Compares two results of the decision log; `None` when one of them is of an unknown form.
pub(super) fn compared(before: &regorus::Value, after: &regorus::Value) -> Option<Compared> {
    let before = serde_json::to_value(before).ok()?;
    let after = serde_json::to_value(after).ok()?;
    let (from, to) = (rank(&before)?, rank(&after)?);
    let mut compared = Compared {
        before: codes(&before),
        after: codes(&after),
        widens: to.0 < from.0,
        narrows: to.0 > from.0,
        ..Compared::default()
    };
    if from.0 != to.0 {
        compared.kind = format!("{} -> {}", from.1, to.1);
    }
    if to.0 < 2 && from.0 < 2 {
        if from.0 == 1 && to.0 == 1 {
            compared.approvals(part(&before, "approval"), part(&after, "approval"));
        }
        compared.obligations(part(&before, "obligations"), part(&after, "obligations"));
    }
    Some(compared)
}

/// A part of a result; null when it has none.
fn part<'a>(result: &'a Value, name: &str) -> &'a Value {
    result.get(name).unwrap_or(&Value::Null)
}

/// An effect and how strict it is.
fn rank(result: &Value) -> Option<(u8, &'static str)> {
    match result.get("effect")?.as_str()? {
        "allow" => Some((0, "allow")),
        "approve" => Some((1, "approve")),
        "deny" => Some((2, "deny")),
        _ => None,
    }
}

fn codes(result: &Value) -> Vec<String> {
    let reasons = result.get("reasons").and_then(Value::as_array);
    let codes = reasons.into_iter().flatten();
    codes
        .filter_map(|reason| Some(reason.get("code")?.as_str()?.to_owned()))
        .collect()
}

impl Compared {
    fn note(&mut self, kind: &str, widens: bool, detail: String) {
        if self.kind.is_empty() {
            kind.clone_into(&mut self.kind);
        }
        self.widens |= widens;
        self.narrows |= !widens;
        self.details.push(detail);
    }

    /// Fewer people, other people, or more time: wider. Anything else that differs: narrower.
    fn approvals(&mut self, before: &Value, after: &Value) {
        if before == after {
            return;
        }
        let people = |approval: &Value| texts(approval.get("approvers"));
        let number = |approval: &Value, name: &str| approval.get(name).and_then(Value::as_u64);
        let (was, is) = (people(before), people(after));
        // Nobody named is whoever the operator appointed.
        let others = was != is && (is.is_empty() || was.is_empty() || !is.is_subset(&was));
        let fewer = number(after, "quorum") < number(before, "quorum");
        let longer = |name| {
            let (old, new) = (number(before, name), number(after, name));
            old != new && old.is_none_or(|old| new.is_none_or(|new| new > old))
        };
        let longer = longer("ttl_s") || longer("valid_for_s");
        let more = number(after, "uses") > number(before, "uses")
            || (after.get("risk").is_some() && before.get("risk").is_none());
        // Every duty has to be met: one that is gone is one less.
        let duties = |approval: &Value| {
            let duties = approval.get("duties").and_then(Value::as_array);
            duties.cloned().unwrap_or_default()
        };
        let windows = |approval: &Value| texts(approval.get("windows"));
        let freed = (before.get("session_bound").is_some() && after.get("session_bound").is_none())
            || !windows(before).is_subset(&windows(after));
        let kept = duties(after);
        let gone = duties(before).iter().any(|duty| !kept.contains(duty));
        let detail = format!("approval: {before} -> {after}");
        self.note(
            "approval changed",
            others || fewer || longer || more || gone || freed,
            detail,
        );
    }

    /// An obligation that is gone or looser widens; one that is new or stricter narrows; what cannot be ordered may do
    /// either, and is told as both.
    fn obligations(&mut self, before: &Value, after: &Value) {
        let names = |value: &Value| -> BTreeSet<String> {
            let members = value.as_object().into_iter().flatten();
            members.map(|(name, _)| name.clone()).collect()
        };
        let kind = "obligations changed";
        for name in names(before).union(&names(after)) {
            match (before.get(name), after.get(name)) {
                (None, None) => {}
                (Some(old), None) => self.note(kind, true, format!("- {name} {old}")),
                (None, Some(new)) => self.note(kind, false, format!("+ {name} {new}")),
                (Some(old), Some(new)) if old == new => {}
                (Some(Value::Number(old)), Some(Value::Number(new))) => {
                    let widens = new.as_u64() > old.as_u64();
                    self.note(kind, widens, format!("{name}: {old} -> {new}"));
                }
                (Some(Value::Array(old)), Some(Value::Array(new))) if name != "set_arguments" => {
                    self.entries(name, old, new);
                }
                (Some(old), Some(new)) => {
                    self.note(kind, true, format!("- {name} {old}"));
                    self.note(kind, false, format!("+ {name} {new}"));
                }
            }
        }
    }

    fn entries(&mut self, name: &str, old: &[Value], new: &[Value]) {
        let kind = "obligations changed";
        if let ("max_records", [old], [new]) = (name, old, new)
            && old.get("result") == new.get("result")
        {
            let most = |cap: &Value| cap.get("max").and_then(Value::as_u64);
            return self.note(
                kind,
                most(new) > most(old),
                format!("{name}: {old} -> {new}"),
            );
        }
        for gone in old.iter().filter(|entry| !new.contains(entry)) {
            self.note(kind, true, format!("- {name} {gone}"));
        }
        for added in new.iter().filter(|entry| !old.contains(entry)) {
            self.note(kind, false, format!("+ {name} {added}"));
        }
    }
}

fn texts(list: Option<&Value>) -> BTreeSet<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|text| Some(text.as_str()?.to_owned()))
        .collect()
}
