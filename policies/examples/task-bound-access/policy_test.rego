package mcp.authz_test

import data.mcp.authz
import data.mcp.decision.decision

call(tool, ticket, closed) := {
	"phase": "call",
	"caller": {"sub": "agent"},
	"server": {"name": "production"},
	"tool": {"name": tool},
	"arguments": {"ticket": ticket},
	"history": {"calls_by_tool": {"close_ticket": closed, "get_ticket": 3}},
	"approval": {"present": false},
	"request": {"time_ns": 1796119000000000000},
}

approved(until_ns, closed) := object.union(call("run_query", "OPS-7", closed), {
	"approval": {"present": true, "groups": ["on-call"], "age_s": 30, "edited": false},
	"grant": {"kind": "session", "uses_left": 4, "until": "2026-12-01T10:00:00Z", "until_ns": until_ns},
})

cases := {
	"a ticket": {"call": call("close_ticket", "OPS-7", 0), "effect": "allow"},
	"a query for a ticket": {"call": call("run_query", "OPS-7", 0), "effect": "approve"},
	"a query for nothing": {"call": call("run_query", "", 0), "effect": "deny"},
	"a query after the ticket was closed": {"call": call("run_query", "OPS-7", 1), "effect": "deny"},
	"agreed to": {"call": approved(1796119200000000000, 0), "effect": "approve"},
	"agreed to, and closed": {"call": approved(1796119200000000000, 1), "effect": "deny"},
	"agreed to, and about to end": {"call": approved(1796119059000000000, 0), "effect": "deny"},
}

test_cases[name] if {
	some name, case in cases
	decision.effect == case.effect with input as case.call
}

test_the_yes_is_for_the_session if {
	asked := authz.approve with input as call("restart_pod", "OPS-7", 0)
	some entry in asked
	entry.grant == {"kind": "session", "uses": 20, "valid_for": "2h"}
}
