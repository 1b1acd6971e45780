//! The starter policy: a table of grants by role, server and tool, and nothing else. Without `--probe` the table is empty.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// The role the table begins with.
pub(crate) const ROLE: &str = "user";

/// Rules: only what the table names.
pub(crate) const RULES: &str = r#"# Who may use which tool: the table `grants` in data.json, by role, server and tool. What it does not name is refused, and
# hidden from lists. Move names from `not_granted`, which no rule reads, to `grants`; add rules on arguments next to this one.
package mcp.authz

allow contains sprintf("role %s", [role]) if {
	some role in input.caller.roles
	input.tool.name in data.grants[role][input.server.name]
}
"#;

/// Tests that hold for any table.
pub(crate) const TESTS: &str = r#"package mcp.authz_test

import data.mcp.decision.decision

call(role, server, tool) := {
	"phase": "call",
	"caller": {"roles": [role]},
	"server": {"name": server},
	"tool": {"name": tool},
	"arguments": {},
}

test_what_the_table_grants_is_allowed if {
	every role, servers in data.grants {
		every server, tools in servers {
			every tool in tools {
				decision.effect == "allow" with input as call(role, server, tool)
			}
		}
	}
}

test_other_tools_are_refused if {
	every role, servers in data.grants {
		every server, _ in servers {
			decision.effect == "deny" with input as call(role, server, "a tool nobody granted")
		}
	}
}

test_callers_without_the_role_are_refused if {
	every _, servers in data.grants {
		every server, tools in servers {
			every tool in tools {
				decision.effect == "deny" with input as call("a role nobody has", server, tool)
			}
		}
	}
}
"#;

/// A tool as a server names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// Whether the server declares that it changes nothing.
    pub(crate) reads: bool,
}

/// The table, as JSON: tools that only read are granted, others are named for the person who decides. `tools` has the servers
/// that were asked.
pub(crate) fn table(
    servers: &[(&str, &BTreeSet<String>)],
    tools: &BTreeMap<String, BTreeSet<Tool>>,
) -> String {
    let mut grants = serde_json::Map::new();
    let mut others = serde_json::Map::new();
    for (server, disabled) in servers {
        let named = tools.get(*server);
        let all = named.into_iter().flatten();
        let (granted, not): (Vec<&Tool>, Vec<&Tool>) =
            all.partition(|tool| tool.reads && !disabled.contains(&tool.name));
        let names =
            |tools: Vec<&Tool>| Value::from_iter(tools.iter().map(|tool| tool.name.as_str()));
        grants.insert((*server).to_owned(), names(granted));
        let rest = names(not);
        if rest != json!([]) {
            others.insert((*server).to_owned(), rest);
        }
    }
    let table = json!({ "grants": { ROLE: grants }, "not_granted": others });
    format!("{table:#}\n")
}
