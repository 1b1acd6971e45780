package mcp.authz_test

import data.mcp.decision.decision

call(tool, groups, when) := {
	"phase": "call",
	"caller": {"groups": groups},
	"server": {"name": "crm"},
	"tool": {"name": tool},
	"arguments": {},
	"request": {
		"time": when,
		"time_ns": time.parse_rfc3339_ns(when),
		"weekday": time.weekday(time.parse_rfc3339_ns(when)),
		"hour": time.clock(time.parse_rfc3339_ns(when))[0],
	},
}

cases := {
	"a change on Friday morning": {"call": ["add_note", [], "2026-11-20T09:30:00Z"], "effect": "allow"},
	"a change at the first minute": {"call": ["add_note", [], "2026-11-20T07:00:00Z"], "effect": "allow"},
	"a change a minute too late": {"call": ["add_note", [], "2026-11-20T17:00:00Z"], "effect": "deny"},
	"a change on Sunday": {"call": ["add_note", [], "2026-11-22T09:30:00Z"], "effect": "deny"},
	"a change on Sunday, on call": {"call": ["add_note", ["on-call"], "2026-11-22T09:30:00Z"], "effect": "allow"},
	"a question at night": {"call": ["get_case", [], "2026-11-20T02:00:00Z"], "effect": "allow"},
	"a question in the window": {"call": ["get_case", [], "2026-11-21T23:00:00Z"], "effect": "deny"},
	"a change in the window, on call": {"call": ["add_note", ["on-call"], "2026-11-22T03:59:59Z"], "effect": "deny"},
	"a question after the window": {"call": ["get_case", [], "2026-11-22T04:00:00Z"], "effect": "allow"},
}

test_cases[name] if {
	some name, case in cases
	[tool, groups, when] := case.call
	decision.effect == case.effect with input as call(tool, groups, when)
}
