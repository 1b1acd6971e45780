package mcp.authz_test

import data.mcp.decision.decision

tool(server, name, annotations, trusted) := {
	"phase": "call",
	"server": {"name": server},
	"tool": {"name": name, "annotations": annotations, "annotations_trusted": trusted},
	"arguments": {},
}

reads := {"readOnlyHint": true}

# For each call: what it comes to with nothing frozen, with the crm frozen, and with everything frozen.
cases := {
	"reading": {"input": tool("crm", "get_case", {}, false), "effects": ["allow", "allow", "allow"]},
	"changing": {"input": tool("crm", "add_note", {}, false), "effects": ["allow", "deny", "deny"]},
	"changing elsewhere": {"input": tool("files", "write_file", {}, false), "effects": ["allow", "allow", "deny"]},
	"a trusted word": {"input": tool("crm", "list_notes", reads, true), "effects": ["allow", "allow", "allow"]},
	"a word": {"input": tool("crm", "list_notes", reads, false), "effects": ["allow", "deny", "deny"]},
	"a document": {
		"input": {"phase": "call", "server": {"name": "crm"}, "resource": {"uri": "crm://a", "scheme": "crm"}},
		"effects": ["allow", "allow", "allow"],
	},
	"a server that asks": {
		"input": {"phase": "server_request", "server": {"name": "crm"}, "method": "elicitation/create", "params": {}},
		"effects": ["deny", "deny", "deny"],
	},
}

modes := [[], ["crm"], ["*"]]

test_cases[sprintf("%s, frozen %s", [name, concat("", modes[index])])] if {
	some name, case in cases
	some index, effect in case.effects
	decision.effect == effect with input as case.input with data.mode.read_only as modes[index]
}
