package mcp.authz_test

import data.mcp.authz
import data.mcp.decision.decision

call(tenant, server, annotations) := {
	"phase": "call",
	"tenant": tenant,
	"server": {"name": server},
	"tool": {"name": "t", "annotations": annotations},
	"arguments": {},
}

cases := {
	"its own server": {"input": call("acme", "acme-crm", {}), "effect": "allow"},
	"another's server": {"input": call("acme", "globex-crm", {}), "effect": "deny"},
	"a shared server": {"input": call("acme", "wiki", {}), "effect": "allow"},
	"something destructive": {"input": call("acme", "acme-crm", {"destructiveHint": true}), "effect": "deny"},
}

test_cases[name] if {
	some name, case in cases
	decision.effect == case.effect with input as case.input
}

test_caps_hold_for_all if {
	one := call("acme", "acme-crm", {})
	authz.redact == {{"pattern": "aws_access_key"}} with input as one
	authz.limit == {{"name": "tenant", "rate": "1000/1m", "by": "caller"}} with input as one
	authz.max_bytes == {1048576} with input as one
}
