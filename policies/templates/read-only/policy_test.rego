package mcp.authz_test

import data.mcp.decision.decision

tool(name, annotations, trusted) := {
	"phase": "call",
	"caller": {"roles": []},
	"server": {"name": "files"},
	"tool": {"name": name, "annotations": annotations, "annotations_trusted": trusted},
	"arguments": {},
}

resource(scheme) := {"phase": "call", "server": {"name": "files"}, "resource": {"uri": "x:/a", "scheme": scheme}}

reads := {"readOnlyHint": true}

cases := {
	"a tool on the list": {"input": tool("read_file", {}, false), "effect": "allow"},
	"a tool that writes": {"input": tool("write_file", {}, false), "effect": "deny"},
	"a trusted word": {"input": tool("other", reads, true), "effect": "allow"},
	"a word that nobody trusts": {"input": tool("other", reads, false), "effect": "deny"},
	"a document": {"input": resource("file"), "effect": "allow"},
	"something else": {"input": resource("https"), "effect": "deny"},
	"a prompt": {"input": {"phase": "call", "prompt": {"name": "p"}}, "effect": "allow"},
}

test_cases[name] if {
	some name, case in cases
	decision.effect == case.effect with input as case.input
}
