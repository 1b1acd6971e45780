//! Whether an approval may still be used: everything that was true when it was given is checked again with what holds now.

use std::{collections::BTreeSet, sync::Arc};

use keepgate_call::Approved;
use keepgate_store::approvals::{ApprovalRow, DecisionRow};

use crate::{
    Approvals, Denial, FrozenCall, LastWord, Person, Settings,
    approvals::{millis, moment},
    eligibility,
};

/// Code and message of what has changed since an approval was given.
pub(crate) type Changed = (&'static str, String);

impl Approvals {
    /// Whether an approval may still be used: no kill since, approvers who still may, terms that are no stricter.
    pub(crate) fn still_holds(
        &self,
        row: &ApprovalRow,
        before: Option<&FrozenCall>,
        decisions: &[DecisionRow],
        frozen: &FrozenCall,
    ) -> Result<(), Changed> {
        let Some(before) = before else {
            return Err(("key_lost", String::new()));
        };
        let since = moment(row.created_ms);
        let surroundings = &self.0.surroundings;
        for facts in [before.facts(&row.tenant), frozen.facts(&row.tenant)] {
            if let Some(kill) = surroundings.killed(&facts, since) {
                return Err(("killed", kill.to_string()));
            }
        }
        if before.destination != frozen.destination {
            let message = "the server of this name is reached in another way now";
            return Err(("destination_changed", message.to_owned()));
        }
        if before.credentials != frozen.credentials {
            return Err(("credential_changed", String::new()));
        }
        if before.sent != frozen.sent {
            return Err((
                "arguments_changed",
                "policy sets other arguments now".to_owned(),
            ));
        }
        self.meets_terms(row, Some(before), decisions, frozen)
    }

    /// Whether an approval meets its own terms and those of now.
    pub(crate) fn meets_terms(
        &self,
        row: &ApprovalRow,
        before: Option<&FrozenCall>,
        decisions: &[DecisionRow],
        frozen: &FrozenCall,
    ) -> Result<(), Changed> {
        let Some(before) = before else {
            return Err(("key_lost", String::new()));
        };
        // Bound by the terms of then is checked by the store.
        let (then, now) = (&before.requirement, &frozen.requirement);
        if now.is_session_bound && !then.is_session_bound {
            let message = "policy grants it for one session now";
            return Err(("terms_changed", message.to_owned()));
        }
        let now_ms = millis(self.now());
        let windows = [&then.window, &now.window];
        if !windows.into_iter().flatten().all(|it| it.is_open(now_ms)) {
            let message = "policy has another window now";
            return Err(("terms_changed", message.to_owned()));
        }
        let settings = self.settings();
        // Uses and time by the terms of now, too: those of then are in the row.
        let now_allows = &frozen.requirement;
        let used = before.requirement.uses.saturating_sub(row.uses_left);
        let age_ms = millis(self.now()).saturating_sub(row.decided_ms.unwrap_or_default());
        if used >= now_allows.uses || age_ms >= now_allows.valid_for_s.saturating_mul(1000) {
            return Err(("terms_changed", "policy grants less now".to_owned()));
        }
        let people = self.agreed(decisions, frozen, &settings);
        // By the terms of then and of now: neither rules nor people may have become fewer.
        if [before, frozen]
            .iter()
            .all(|call| eligibility::is_enough(&people, call))
        {
            Ok(())
        } else {
            Err(("approver_ineligible", String::new()))
        }
    }

    /// Whether an approval meets what policy answers when it has seen it.
    ///
    /// # Errors
    /// [`Denial::Policy`] when policy denies the call.
    pub(crate) fn last_word(
        &self,
        row: &ApprovalRow,
        before: Option<&FrozenCall>,
        decisions: &[DecisionRow],
        (frozen, word): (&FrozenCall, LastWord),
    ) -> Result<Result<(), Changed>, Denial> {
        match word {
            LastWord::Allow => Ok(Ok(())),
            LastWord::Deny => Err(Denial::Policy),
            LastWord::Approve(requirement) if *requirement == frozen.requirement => Ok(Ok(())),
            LastWord::Approve(requirement) => {
                let stricter = FrozenCall {
                    requirement: *requirement,
                    ..frozen.clone().outline()
                };
                Ok(self.meets_terms(row, before, decisions, &stricter))
            }
        }
    }

    /// The approval as policy sees it.
    pub(crate) fn approved(
        &self,
        row: &ApprovalRow,
        before: Option<&FrozenCall>,
        decisions: &[DecisionRow],
        frozen: &FrozenCall,
    ) -> Approved {
        let people = self.agreed(decisions, before.unwrap_or(frozen), &self.settings());
        let groups = people.iter().flat_map(|person| &person.groups);
        let groups: BTreeSet<Arc<str>> = groups.map(|group| (**group).into()).collect();
        let age_ms = millis(self.now()).saturating_sub(row.decided_ms.unwrap_or_default());
        Approved {
            groups: groups.into_iter().collect(),
            age_s: age_ms / 1000,
            is_edited: false,
            kind: before.unwrap_or(frozen).requirement.kind(),
            uses_left: row.uses_left,
            until_s: row.usable_until_ms.unwrap_or_default() / 1000,
        }
    }

    /// Operators who have approved and still may.
    pub(crate) fn agreed(
        &self,
        decisions: &[DecisionRow],
        call: &FrozenCall,
        settings: &Settings,
    ) -> Vec<Person> {
        let yes = decisions.iter().filter(|decision| decision.approves);
        yes.filter_map(|decision| self.0.surroundings.person(&decision.operator_id))
            .filter(|person| self.may_decide(person, call, settings).is_ok())
            .collect()
    }

    /// Whether a person may decide over a call.
    pub(crate) fn may_decide(
        &self,
        person: &Person,
        call: &FrozenCall,
        settings: &Settings,
    ) -> Result<(), eligibility::Ineligible> {
        let is_operator = |name: &str| self.0.surroundings.is_operator(name);
        eligibility::check(person, call, settings, is_operator)
    }
}
