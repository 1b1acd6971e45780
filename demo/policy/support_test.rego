# What support.rego must say. Run: keepgate policy test
package mcp.authz_test

import data.mcp.authz

support := {"sub": "support-agent", "kind": "machine", "roles": ["support"]}

stranger := {"sub": "stranger", "kind": "machine", "roles": []}

tool_call(caller, server, tool, arguments) := {
	"phase": "call",
	"caller": caller,
	"server": {"name": server},
	"method": "tools/call",
	"tool": {"name": tool},
	"arguments": arguments,
}

listing(caller, server, tool) := {
	"phase": "list",
	"caller": caller,
	"server": {"name": server},
	"method": "tools/list",
	"tool": {"name": tool},
}

reading(caller, server, uri, scheme) := {
	"phase": "call",
	"caller": caller,
	"server": {"name": server},
	"method": "resources/read",
	"resource": {"uri": uri, "scheme": scheme},
}

allowed(question) if {
	count(authz.allow) > 0 with input as question
	count(authz.deny) == 0 with input as question
}

codes(question) := found if {
	denials := authz.deny with input as question
	found := {denial.code | some denial in denials}
}

query(sql) := tool_call(support, "crm", "query_database", {"sql": sql})

note(title) := tool_call(support, "notes", "write_note", {"title": title, "text": "x"})

test_support_reads_cases if {
	allowed(tool_call(support, "crm", "search_cases", {"status": "open"}))
	allowed(tool_call(support, "crm", "get_case", {"id": "C-1001"}))
	allowed(tool_call(support, "crm", "export_report", {}))
}

test_support_may_look_things_up if {
	allowed(query("SELECT id FROM cases"))
	allowed(query("  select id from cases;  "))
}

test_support_may_not_change_anything_with_sql if {
	every sql in [
		"DELETE FROM cases",
		"selection",
		"SELECT id FROM cases; DELETE FROM cases",
		"",
		7,
		null,
	] {
		not allowed(query(sql))
		codes(query(sql)) == {"sql_not_select"}
	}
}

test_a_query_without_sql_is_not_allowed if {
	not allowed(tool_call(support, "crm", "query_database", {}))
}

test_accounts_are_kept_out_of_cases if {
	count(authz.redact) == 1 with input as tool_call(support, "crm", "get_case", {"id": "C-1001"})
	count(authz.redact) == 0 with input as tool_call(support, "crm", "search_cases", {})
}

test_nobody_deletes_accounts if {
	not allowed(tool_call(support, "crm", "delete_account", {"id": "A-77"}))
	count(authz.visible) == 0 with input as listing(support, "crm", "delete_account")
}

test_deleting_an_account_takes_a_person if {
	senior := object.union(support, {"roles": ["senior"]})
	asked := tool_call(senior, "crm", "delete_account", {"id": "A-77"})
	count(authz.approve) == 1 with input as asked
	count(authz.approve) == 0 with input as tool_call(support, "crm", "delete_account", {"id": "A-77"})
	count(authz.approve) == 0 with input as tool_call(senior, "crm", "search_cases", {})
}

test_tools_with_rules_on_arguments_are_visible if {
	count(authz.visible) > 0 with input as listing(support, "crm", "query_database")
	count(authz.visible) > 0 with input as listing(support, "notes", "write_note")
	count(authz.deny) == 0 with input as listing(support, "crm", "query_database")
	count(authz.deny) == 0 with input as listing(support, "notes", "write_note")
}

test_support_reads_policies_but_not_the_ledger if {
	allowed(reading(support, "crm", "crm://policies/refunds", "crm"))
	allowed(reading(support, "crm", "crm://cases/C-1001", "crm"))
	not allowed(reading(support, "crm", "crm://ledger", "crm"))
	not allowed(reading(support, "crm", "crm://ledger/2026", "crm"))
}

test_support_writes_its_own_notes_only if {
	allowed(note("agent/todo"))
	not allowed(note("team/oncall"))
	codes(note("team/oncall")) == {"not_the_agents_note"}
	codes(note(7)) == {"not_the_agents_note"}
}

test_servers_are_not_mixed_up if {
	not allowed(tool_call(support, "notes", "search_cases", {}))
	not allowed(tool_call(support, "crm", "read_note", {"title": "team/oncall"}))
	not allowed(reading(support, "notes", "crm://policies/refunds", "crm"))
}

test_strangers_get_nothing if {
	not allowed(tool_call(stranger, "crm", "search_cases", {}))
	not allowed(tool_call(stranger, "notes", "list_notes", {}))
	not allowed(reading(stranger, "crm", "crm://policies/refunds", "crm"))
	count(authz.visible) == 0 with input as listing(stranger, "crm", "query_database")
}
