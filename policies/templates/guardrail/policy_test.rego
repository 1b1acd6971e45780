package mcp.authz_test

import data.mcp.authz
import data.mcp.decision.decision

tool(annotations, roles) := {
	"phase": "call",
	"caller": {"roles": roles},
	"server": {"name": "files"},
	"method": "tools/call",
	"tool": {"name": "t", "annotations": annotations},
	"arguments": {},
}

cases := {
	"anything harmless": {"input": tool({}, []), "effect": "allow"},
	"something destructive": {"input": tool({"destructiveHint": true}, []), "effect": "deny"},
	"something destructive, by an operator": {"input": tool({"destructiveHint": true}, ["operator"]), "effect": "allow"},
	"a server that wants the model": {
		"input": {"phase": "server_request", "method": "sampling/createMessage", "params": {}},
		"effect": "deny",
	},
	"a server with a form": {
		"input": {"phase": "server_request", "method": "elicitation/create", "params": {}},
		"effect": "allow",
	},
}

test_cases[name] if {
	some name, case in cases
	decision.effect == case.effect with input as case.input
}

test_secrets_never_leave if {
	authz.redact == {{"pattern": "aws_access_key"}, {"pattern": "private_key"}, {"pattern": "jwt"}} with input as tool({}, [])
}

test_caps_hold_for_everyone if {
	authz.max_bytes == {1048576} with input as tool({}, ["operator"])
	some limit in authz.limit with input as tool({}, ["operator"])
	limit.by == "caller"
}
