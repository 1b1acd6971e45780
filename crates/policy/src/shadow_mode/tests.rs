//! Candidates beside a policy: what they would do, what they cost when they fail, and what they never do.

use std::time::Duration;

use super::{Beside, OtherList, Shadow, Would};
use crate::decision::{Decision, Effect};
use crate::facts::{Facts, Item};
use crate::policy::tests::{caller, facts, folder, policy, server};

const LIVE: &str = "package mcp.authz\nallow contains \"reads\" if input.tool.name == \"get\"\n";
const ID: &str = "01901234-5678-7fff-bfff-00000000ffff";

/// Ample for a busy machine, and short of what a loop takes.
const LIMIT: Duration = Duration::from_millis(500);

struct Candidate {
    shadow: Shadow,
    folder: tempfile::TempDir,
}

impl Candidate {
    fn new(rules: &str, sample: f64) -> Self {
        let folder = folder(&[("a.rego", rules)]);
        let directories = vec![folder.path().to_owned()];
        let shadow = Shadow::bounded((&directories).into(), sample, LIMIT);
        Self { shadow, folder }
    }

    fn write(&self, rules: &str) {
        std::fs::write(self.folder.path().join("a.rego"), rules).unwrap();
    }
}

/// What the live policy decides of a tool, and what the candidate says to it.
fn beside(shadow: &Shadow, tool: &str, id: &str) -> (Decision, Option<Beside>) {
    let (caller, server) = (caller(&["support"]), server("crm"));
    let facts = Facts {
        id,
        ..facts(&caller, &server, tool)
    };
    let decided = policy(LIVE).judge(&facts);
    let said = shadow.judge(&facts, &decided);
    (decided, said)
}

fn would(said: Option<Beside>) -> Would {
    match said {
        Some(Beside::Would(would)) => would,
        other @ (None | Some(Beside::Same | Beside::Failed)) => panic!("{other:?}"),
    }
}

#[test]
fn it_says_what_it_would_do_and_changes_nothing() {
    let wider = Candidate::new("package mcp.authz\nallow contains \"all\"", 1.0);
    assert_eq!(
        beside(&wider.shadow, "delete", ID).1,
        None,
        "nothing is loaded yet"
    );
    wider.shadow.reload().unwrap();
    let (decided, said) = beside(&wider.shadow, "delete", ID);
    assert_eq!(decided.effect, Effect::Deny);
    let said = would(said);
    assert_eq!(said.effect, Effect::Allow);
    assert_eq!(said.codes, ["allowed".into()]);
    assert_eq!(Some(said.revision), wider.shadow.revision());
    assert_eq!(beside(&wider.shadow, "get", ID).1, Some(Beside::Same));

    let asks = "package mcp.authz\napprove contains {\"code\": \"ask\"}\ndeny contains {\"code\": \"no\"} if input.tool.name == \"get\"";
    let asks = Candidate::new(asks, 1.0);
    asks.shadow.reload().unwrap();
    let denies = would(beside(&asks.shadow, "get", ID).1);
    assert_eq!((denies.effect, &*denies.codes[0]), (Effect::Deny, "no"));
    let approves = would(beside(&asks.shadow, "delete", ID).1);
    assert!(matches!(approves.effect, Effect::Approve(_)));
}

#[test]
fn lists_are_compared_item_by_item() {
    let other = Candidate::new(
        "package mcp.authz\nvisible contains \"x\" if input.tool.name in {\"b\", \"c\"}",
        1.0,
    );
    other.shadow.reload().unwrap();
    let (caller, server) = (caller(&[]), server("crm"));
    let facts = Facts {
        id: ID,
        ..facts(&caller, &server, "")
    };
    let item = |name| Item::Tool {
        name,
        definition: None,
    };
    let items = [item("a"), item("b"), item("c")];
    let list = other.shadow.visible(&facts, &items, &[true, true, false]);
    assert_eq!(
        list,
        Some(OtherList {
            shown: 1,
            hidden: 1
        })
    );
}

#[test]
fn one_that_cannot_be_loaded_leaves_the_last_one() {
    let candidate = Candidate::new("package mcp.authz\nallow contains if {{{", 1.0);
    assert!(candidate.shadow.reload().is_err());
    assert_eq!(candidate.shadow.revision(), None);
    candidate.write("package mcp.authz\nallow contains \"all\"");
    candidate.shadow.reload().unwrap();
    let revision = candidate.shadow.revision();
    assert!(revision.is_some());
    candidate.write("package mcp.authz\nallow contains startwith(input.tool.name, \"x\")");
    assert!(candidate.shadow.reload().is_err());
    assert_eq!(candidate.shadow.revision(), revision);
    assert_eq!(
        would(beside(&candidate.shadow, "delete", ID).1).effect,
        Effect::Allow
    );
}

#[test]
fn one_that_loops_or_fails_is_left_alone_after_a_few_tries() {
    let loops = "package mcp.authz\ndeny contains \"x\" if { some a in numbers.range(1, 9999); some b in numbers.range(1, 9999); a * b < 0 }";
    for rules in [
        loops,
        "package mcp.authz\ndeny contains \"x\" if startswith(input.tool.name, 7)",
    ] {
        let candidate = Candidate::new(rules, 1.0);
        candidate.shadow.reload().unwrap();
        for _ in 0..3 {
            let (decided, said) = beside(&candidate.shadow, "get", ID);
            assert_eq!(
                (decided.effect, said),
                (Effect::Allow, Some(Beside::Failed)),
                "{rules}"
            );
        }
        assert_eq!(beside(&candidate.shadow, "get", ID).1, None, "{rules}");
        // Another one gets another chance.
        candidate.write("package mcp.authz\nallow contains \"all\"");
        candidate.shadow.reload().unwrap();
        assert_eq!(beside(&candidate.shadow, "get", ID).1, Some(Beside::Same));
    }
}

#[test]
fn a_share_of_calls_is_asked_about() {
    let candidate = Candidate::new("package mcp.authz\nallow contains \"all\"", 0.25);
    candidate.shadow.reload().unwrap();
    let ids = ["00000000", "3fffffff", "40000000", "ffffffff"].map(|end| format!("0190-{end}"));
    let asked = ids.map(|id| beside(&candidate.shadow, "get", &id).1.is_some());
    assert_eq!(asked, [true, true, false, false]);
}
