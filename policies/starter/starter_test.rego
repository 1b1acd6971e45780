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
		{"sql": "select pg_read_file('/etc/passwd')"},
		{"sql": "select name from cases where pg_read_file('/etc/passwd') like '%root%'"},
		{"sql": "select PG_CATALOG.PG_READ_FILE('/etc/passwd')"},
		{"sql": "select lo_import('/etc/passwd')"},
		{"sql": "select * from dblink('host=10.0.0.1', 'select 1') as t(a int)"},
		{"sql": "select * from pg_shadow"},
		{"sql": "select * from cases union select usename, passwd from pg_shadow"},
		{"sql": "select (select passwd from pg_shadow limit 1) from cases"},
		{"sql": "with gone as (delete from cases returning 1) select * from gone"},
		{"sql": "copy cases to program 'sh'"},
		{"sql": "select name from cases for update"},
		{"sql": "sel/**/ect name from cases"},
		{"sql": ["select name from cases"]},
		{"sql": {"text": "select name from cases"}},
		{"sql": null},
		{"sql": ""},
		{},
	] {
		"sql_not_select" in codes with input as tool("crm", "query_database", ["analyst"], arguments)
	}
}

test_only_known_arguments if {
	every case in [
		["crm", "query_database", {"sql": "select name from cases", "query": "delete from cases"}],
		["crm", "query_database", {"sql": "select name from cases", "SQL": "delete from cases"}],
		["files", "read_file", {"path": "a", "PATH": "/etc/passwd"}],
		["files", "read_file", {"path": "a", "file": "/etc/passwd"}],
		["files", "read_file", {"path": "a", "paths": ["/etc/passwd"]}],
		["files", "read_multiple_files", {"path": "a"}],
	] {
		"argument_unknown" in codes with input as tool(case[0], case[1], ["analyst", "editor"], case[2])
	}
}

test_paths_are_one_text if {
	every path in [["../../etc/passwd"], {"path": "../etc/passwd"}, 7, true, false, null] {
		decision.effect == "deny" with input as tool("files", "read_file", [], {"path": path})
	}
	codes == {"path_missing"} with input as tool("files", "read_file", [], {})
	"path_unreadable" in codes with input as tool("files", "search_files", [], {"path": "a", "pattern": ["../*"]})
}

test_no_climbing if {
	every path in [
		"..", "../x", "a/../../x", `a\..\x`, "a/ .. /x", "~/x", "~root/x", "%2e%2e/x", "a/%2E%2e%2Fx", "a%5c..", "a%00",
	] {
		"path_escapes" in codes with input as tool("files", "read_file", [], {"path": path})
	}
	"path_escapes" in codes with input as tool("files", "search_files", [], {"path": "a", "pattern": "../**"})
}

test_known_arguments_pass if {
	every case in [
		["read_file", {"path": "notes/today.md", "head": 10}],
		["read_file", {"path": "notes/a..b.md"}],
		["search_files", {"path": ".", "pattern": "**/*.md"}],
		["list_directory", {"path": "/srv/docs"}],
	] {
		decision.effect == "allow" with input as tool("files", case[0], [], case[1])
	}
	every statement in ["select count(*) from cases", "SELECT name FROM contacts WHERE lower(name) = 'x' LIMIT 5"] {
		decision.effect == "allow" with input as tool("crm", "query_database", ["analyst"], {"sql": statement})
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
	elsewhere := json.patch(resource, [{"op": "add", "path": "/resource/authority", "value": "evil.example"}])
	codes == {"no_rule"} with input as elsewhere
	hidden := json.patch(resource, [{"op": "add", "path": "/resource/path/0", "value": ".ssh"}])
	codes == {"path_hidden"} with input as hidden
}
