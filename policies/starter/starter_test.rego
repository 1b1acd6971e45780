package mcp.authz_test

import data.mcp.decision.decision

caller(roles) := {"sub": "alice", "iss": "", "kind": "user", "roles": roles, "groups": [], "scopes": [], "claims": {}}

tool(server, name, roles, arguments) := {
	"version": "keepgate/v1",
	"phase": "call",
	"caller": caller(roles),
	"server": {"name": server, "owner": "", "environment": "", "trust": "", "labels": {}},
	"tenant": "",
	"method": "tools/call",
	"tool": {"name": name, "annotations": {}, "annotations_trusted": false, "labels": {}},
	"arguments": arguments,
}

codes := {reason.code | some reason in decision.reasons}

test_everyone_reads if {
	decision.effect == "allow" with input as tool("files", "read_file", [], {"path": "notes/today.md"})
}

test_nobody_writes_without_a_role if {
	codes == {"no_rule"} with input as tool("files", "write_file", [], {"path": "notes/today.md"})
}

test_editors_write if {
	decision.effect == "allow" with input as tool("files", "write_file", ["editor"], {"path": "notes/today.md"})
}

test_same_name_on_another_server_is_another_tool if {
	codes == {"no_rule"} with input as tool("other", "read_file", [], {"path": "notes/today.md"})
}

test_select if {
	decision.effect == "allow" with input as tool("crm", "query_database", ["analyst"], {"sql": "SELECT name FROM cases;"})
}

test_only_one_select if {
	every arguments in [
		{"sql": "delete from cases"},
		{"sql": "select 1; delete from cases"},
		{"sql": "select * into copy from cases"},
		{"sql": ["select 1"]},
		{"sql": null},
		{},
	] {
		codes == {"sql_not_select"} with input as tool("crm", "query_database", ["analyst"], arguments)
	}
}

test_no_climbing if {
	every arguments in [{"path": "../x"}, {"path": "a/../../x"}, {"path": `a\..\x`}, {"paths": ["ok", ".."]}] {
		"path_escapes" in codes with input as tool("files", "read_file", [], arguments)
	}
}

test_nothing_hidden if {
	codes == {"path_hidden"} with input as tool("files", "read_file", [], {"path": "/srv/docs/.env"})
}

test_destructive_needs_approval if {
	annotated := json.patch(
		tool("files", "delete_file", ["editor"], {"path": "x"}),
		[{"op": "add", "path": "/tool/annotations/destructiveHint", "value": true}],
	)
	decision.effect == "approve" with input as annotated
}

test_a_server_cannot_vouch_for_itself if {
	annotated := json.patch(
		tool("other", "read_all", [], {}),
		[{"op": "add", "path": "/tool/annotations/readOnlyHint", "value": true}],
	)
	codes == {"no_rule"} with input as annotated
	trusted := json.patch(annotated, [{"op": "replace", "path": "/tool/annotations_trusted", "value": true}])
	decision.effect == "allow" with input as trusted
}

ask(method, params) := {"phase": "server_request", "method": method, "caller": caller([]), "server": {"name": "files"}, "params": params}

test_forms_only if {
	decision.effect == "allow" with input as ask("elicitation/create", {"message": "which one?"})
	codes == {"no_rule"} with input as ask("elicitation/create", {"mode": "url", "url": "https://x.example"})
	codes == {"no_rule"} with input as ask("sampling/createMessage", {})
	codes == {"no_rule"} with input as ask("roots/list", {})
}

test_resources if {
	resource := {
		"phase": "call",
		"method": "resources/read",
		"caller": caller([]),
		"server": {"name": "files"},
		"resource": {"uri": "file:///srv/docs/a.md", "scheme": "file", "path": ["srv", "docs", "a.md"], "template": false},
	}
	decision.effect == "allow" with input as resource
	hidden := json.patch(resource, [{"op": "add", "path": "/resource/path/0", "value": ".ssh"}])
	codes == {"path_hidden"} with input as hidden
}
