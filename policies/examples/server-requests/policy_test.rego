package mcp.authz_test

import data.mcp.decision.decision

ask(trust, method, params) := {
	"phase": "server_request",
	"server": {"name": "wiki", "trust": trust},
	"method": method,
	"params": params,
}

form(message, fields) := ask("", "elicitation/create", {"message": message, "requestedSchema": {"properties": fields}})

sampling(trust, more) := ask(trust, "sampling/createMessage", object.union({"maxTokens": 500, "messages": []}, more))

cases := {
	"a form": {"input": form("Which page?", {"page": {"type": "string"}}), "effect": "allow"},
	"a form without fields": {"input": ask("", "elicitation/create", {"message": "Sure?"}), "effect": "allow"},
	"an address": {"input": ask("", "elicitation/create", {"mode": "url", "url": "https://x.example"}), "effect": "deny"},
	"asks for a password": {"input": form("Your Password, please", {}), "effect": "deny"},
	"asks for it by field": {"input": form("Hello", {"api_key": {"type": "string"}}), "effect": "deny"},
	"asks for it by title": {"input": form("Hello", {"x": {"title": "PIN"}}), "effect": "deny"},
	"a trusted server samples": {"input": sampling("first_party", {}), "effect": "allow"},
	"another server samples": {"input": sampling("", {}), "effect": "deny"},
	"too much": {"input": sampling("first_party", {"maxTokens": 1001}), "effect": "deny"},
	"how much, in words": {"input": sampling("first_party", {"maxTokens": "few"}), "effect": "deny"},
	"with what others said": {"input": sampling("first_party", {"includeContext": "allServers"}), "effect": "deny"},
	"with tools": {"input": sampling("first_party", {"tools": []}), "effect": "deny"},
	"roots": {"input": ask("first_party", "roots/list", {}), "effect": "deny"},
	"a tool of its own": {
		"input": {"phase": "call", "method": "tools/call", "server": {"name": "wiki"}, "tool": {"name": "search"}},
		"effect": "allow",
	},
}

test_cases[name] if {
	some name, case in cases
	decision.effect == case.effect with input as case.input
}
