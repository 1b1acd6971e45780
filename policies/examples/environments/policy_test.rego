package mcp.authz_test

import data.mcp.authz
import data.mcp.decision.decision

call(environment, tool, groups, labels) := {
	"phase": "call",
	"caller": {"groups": groups},
	"server": {"name": "crm", "environment": environment},
	"tool": {"name": tool},
	"arguments": {},
	"flow": {"labels": labels},
}

operator := ["production"]

cases := {
	"staging is open": {"call": ["staging", "reset", [], []], "effect": "allow"},
	"production is not": {"call": ["production", "get_case", [], []], "effect": "deny"},
	"but for operators": {"call": ["production", "get_case", operator, []], "effect": "allow"},
	"who reset nothing there": {"call": ["production", "reset", operator, []], "effect": "deny"},
	"and stay there": {"call": ["staging", "add_note", operator, ["production"]], "effect": "deny"},
	"as long as they like": {"call": ["production", "get_case", operator, ["production"]], "effect": "allow"},
	"an environment nobody named": {"call": ["", "get_case", operator, []], "effect": "deny"},
}

test_cases[name] if {
	some name, case in cases
	[environment, tool, groups, labels] := case.call
	decision.effect == case.effect with input as call(environment, tool, groups, labels)
}

test_production_marks_the_session if {
	authz.labels == {"production"} with input as call("production", "get_case", operator, [])
	authz.labels == set() with input as call("staging", "get_case", operator, [])
}

test_strangers_cannot_connect if {
	connect := {"phase": "connect", "caller": {"groups": []}, "server": {"name": "crm", "environment": "production"}}
	count(authz.deny) == 1 with input as connect
	count(authz.deny) == 0 with input as object.union(connect, {"caller": {"groups": operator}})
}
