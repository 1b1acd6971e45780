package mcp.authz_test

import data.mcp.decision.decision

call(role, tool, path) := {
	"phase": "call",
	"caller": {"roles": [role]},
	"server": {"name": "files"},
	"tool": {"name": tool},
	"arguments": {"path": path},
}

cases := {
	"readers read": {"input": call("reader", "read_file", "/srv/docs/a.md"), "effect": "allow"},
	"readers do not write": {"input": call("reader", "write_file", "/srv/docs/a.md"), "effect": "deny"},
	"editors write": {"input": call("editor", "write_file", "/srv/docs/a.md"), "effect": "allow"},
	"strangers do nothing": {"input": call("guest", "read_file", "/srv/docs/a.md"), "effect": "deny"},
	"nobody leaves the folder": {"input": call("editor", "read_file", "/etc/passwd"), "effect": "deny"},
	"nobody climbs out of it": {"input": call("editor", "read_file", "/srv/docs/../x"), "effect": "deny"},
	"a path is a text": {"input": call("editor", "read_file", null), "effect": "deny"},
}

# Each case is told by its name.
test_cases[name] if {
	some name, case in cases
	decision.effect == case.effect with input as case.input
}

test_the_reason_says_why if {
	some reason in decision.reasons with input as call("editor", "read_file", "/etc/passwd")
	reason.code == "path_outside"
}
