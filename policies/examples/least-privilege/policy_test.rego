package mcp.authz_test

import data.mcp.decision.decision

call(kind, role, server, tool, annotations) := {
	"phase": "call",
	"caller": {"kind": kind, "roles": [role]},
	"server": {"name": server},
	"tool": {"name": tool, "annotations": annotations},
	"arguments": {},
}

cases := {
	"support searches": {"input": call("user", "support", "crm", "search_cases", {}), "effect": "allow"},
	"support closes nothing": {"input": call("user", "support", "crm", "close_case", {}), "effect": "deny"},
	"leads close": {"input": call("user", "lead", "crm", "close_case", {}), "effect": "allow"},
	"a program is no lead": {"input": call("machine", "lead", "crm", "close_case", {}), "effect": "deny"},
	"a program supports": {"input": call("machine", "support", "crm", "get_case", {}), "effect": "allow"},
	"the same tool elsewhere": {"input": call("user", "support", "wiki", "get_case", {}), "effect": "deny"},
	"no such role": {"input": call("user", "guest", "crm", "get_case", {}), "effect": "deny"},
	"destroying asks first": {
		"input": call("user", "editor", "files", "delete_file", {"destructiveHint": true}),
		"effect": "approve",
	},
	"and is not for everyone": {
		"input": call("user", "guest", "files", "delete_file", {"destructiveHint": true}),
		"effect": "deny",
	},
}

test_cases[name] if {
	some name, case in cases
	decision.effect == case.effect with input as case.input
}
