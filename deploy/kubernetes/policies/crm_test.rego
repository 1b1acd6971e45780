# keepgate policy test, where this folder is
package mcp.authz_test

import data.mcp.decision.decision

call(roles, tool, annotations) := {
	"phase": "call",
	"method": "tools/call",
	"caller": {"roles": roles},
	"server": {"name": "crm"},
	"tool": {"name": tool, "annotations": annotations},
	"arguments": {},
}

test_support_reads if decision.effect == "allow" with input as call(["support"], "get_case", {})

test_nobody_else_does if decision.effect == "deny" with input as call(["sales"], "get_case", {})

test_unlisted if decision.effect == "deny" with input as call(["support"], "delete_case", {})

test_destructive if {
	decision.effect == "approve" with input as call(["support"], "get_case", {"destructiveHint": true})
}
