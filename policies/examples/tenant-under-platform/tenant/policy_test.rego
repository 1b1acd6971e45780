package mcp.authz_test

import data.mcp.authz
import data.mcp.decision.decision

call(server, tool, role) := {
	"phase": "call",
	"tenant": "acme",
	"caller": {"roles": [role]},
	"server": {"name": server},
	"tool": {"name": tool},
	"arguments": {},
}

cases := {
	"support reads": {"input": call("acme-crm", "get_case", "support"), "effect": "allow"},
	"others do not": {"input": call("acme-crm", "get_case", "guest"), "effect": "deny"},
	"everyone searches": {"input": call("wiki", "search", "guest"), "effect": "allow"},
	"nobody edits": {"input": call("wiki", "edit", "support"), "effect": "deny"},
}

test_cases[name] if {
	some name, case in cases
	decision.effect == case.effect with input as case.input
}

test_results_of_the_crm if {
	crm := call("acme-crm", "get_case", "support")
	authz.max_bytes == {65536} with input as crm
	authz.redact == {{"pattern": "email"}} with input as crm
}
