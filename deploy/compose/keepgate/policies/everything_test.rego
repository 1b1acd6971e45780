package mcp.authz_test

import data.mcp.decision.decision

call(tool, annotations) := {
	"phase": "call",
	"method": "tools/call",
	"server": {"name": "everything"},
	"tool": {"name": tool, "annotations": annotations},
	"arguments": {},
}

test_harmless if decision.effect == "allow" with input as call("echo", {})

test_unlisted if decision.effect == "deny" with input as call("something-new", {})

test_environment if decision.effect == "deny" with input as call("get-env", {})

test_turned_destructive if decision.effect == "approve" with input as call("echo", {"destructiveHint": true})
