//! Calls with an approval, as rules see them.

use std::sync::Arc;

use super::{caller, codes, facts, policy, server};
use crate::{ApprovalFacts, Facts, Phase};

const RULES: &str = r#"package mcp.authz

allow contains "agreed to by those who know" if {
	input.approval.present
	"crm" in input.approval.groups
}

approve contains {"code": "ask"} if {
	input.tool.name == "delete"
	not input.approval.present
}

deny contains {"code": "stale"} if input.approval.age_s > 60

deny contains {"code": "last_use"} if {
	input.grant.kind == "uses"
	input.grant.uses_left == 1
}

deny contains {"code": "ends_soon"} if input.grant.until_ns - input.request.time_ns < 5000000000
"#;

fn approval(groups: &[Arc<str>]) -> ApprovalFacts<'_> {
    ApprovalFacts {
        groups,
        age_s: 10,
        is_edited: false,
        kind: "once",
        uses_left: 1,
        until_s: 4_000_000_000,
    }
}

#[test]
fn an_approval_is_in_the_input_of_its_call_alone() {
    let policy = policy(RULES);
    let (caller, server) = (caller(&[]), server("s"));
    let [crm, other]: [[Arc<str>; 1]; 2] = [["crm".into()], ["other".into()]];
    let judged = |tool, phase, approval| {
        codes(&policy.judge(&Facts {
            approval,
            phase,
            ..facts(&caller, &server, tool)
        }))
    };
    let call = |tool, approval| judged(tool, Phase::Call, approval);
    // Nobody has agreed yet: the rule that trusts an approval lets nothing go.
    assert_eq!(call("delete", None), "approve ask");
    assert_eq!(call("other", None), "deny no_rule");
    assert_eq!(call("delete", Some(approval(&crm))), "allow allowed");
    assert_eq!(call("delete", Some(approval(&other))), "deny no_rule");
    // In a list there is none: what may be seen does not depend on it.
    assert_eq!(
        judged("delete", Phase::List, Some(approval(&crm))),
        judged("delete", Phase::List, None)
    );
    let with = |change: fn(&mut ApprovalFacts<'_>)| {
        let mut changed = approval(&crm);
        change(&mut changed);
        call("delete", Some(changed))
    };
    assert_eq!(with(|it| it.age_s = 61), "deny stale");
    assert_eq!(with(|it| it.kind = "uses"), "deny last_use");
    assert_eq!(with(|it| it.until_s = 1), "deny ends_soon");
}
