//! Shadow mode: what a candidate would have decided, counted and noted. Nothing here can change a decision: it is asked after
//! the decision is made, and gives nothing back.

use std::sync::{Arc, OnceLock};

use keepgate_call::{Beside as Noted, Call};
use keepgate_policy::{Beside as Said, Decision, Effect, Facts, Item, Shadow};
use keepgate_telemetry::metrics::{Counter, Family};

use crate::metrics::Meters;

/// The candidate, if there is one.
#[derive(Debug)]
pub struct Beside {
    shadow: OnceLock<Arc<Shadow>>,
    compared: Family<Counter, 2>,
}

impl Beside {
    /// Without a candidate.
    pub fn new(meters: &Meters) -> Self {
        Self {
            shadow: OnceLock::new(),
            compared: meters.registry().counter(
                "keepgate.policy.shadow",
                "Decisions and lists the shadow policies were tried on, by what they would have done otherwise",
                &["keepgate.server.name", "keepgate.change"],
            ),
        }
    }

    /// Tries `shadow` from now on. The first stays.
    pub fn cast(&self, shadow: Arc<Shadow>) {
        let _first = self.shadow.set(shadow);
    }

    /// The candidate, if there is one.
    pub fn shadow(&self) -> Option<&Arc<Shadow>> {
        self.shadow.get()
    }

    /// Asks the candidate about what was decided.
    pub fn judged(&self, call: &Call, facts: &Facts<'_>, decision: &Decision) {
        let Some(said) = self
            .shadow
            .get()
            .and_then(|shadow| shadow.judge(facts, decision))
        else {
            return;
        };
        let would = match said {
            Said::Same => return self.count(call, "same", 1),
            Said::Failed => return self.count(call, "failed", 1),
            Said::Would(would) => would,
        };
        let change = match would.effect {
            Effect::Allow => "would_allow",
            Effect::Approve(_) => "would_approve",
            Effect::Deny => "would_deny",
        };
        self.count(call, change, 1);
        call.beside.note(Noted {
            would: change,
            codes: would.codes.join(" "),
            revision: would.revision,
        });
    }

    /// Asks the candidate about a list of which `shown` was shown.
    pub fn listed(&self, call: &Call, facts: &Facts<'_>, items: &[Item<'_>], shown: &[bool]) {
        let Some(shadow) = self.shadow.get() else {
            return;
        };
        let Some(list) = shadow.visible(facts, items, shown) else {
            return;
        };
        for (change, items) in [("would_hide", list.hidden), ("would_show", list.shown)] {
            if items > 0 {
                self.count(call, change, items);
                call.beside.note(Noted {
                    would: change,
                    codes: String::new(),
                    revision: shadow.revision().unwrap_or_default(),
                });
            }
        }
        self.count(
            call,
            "same",
            shown.len().saturating_sub(list.hidden + list.shown),
        );
    }

    fn count(&self, call: &Call, change: &'static str, times: usize) {
        if times > 0 {
            let labels = [call.server.as_str(), change];
            self.compared
                .with(labels, |counter| counter.add(times as u64));
        }
    }
}
