package mcp.authz_test

import data.mcp.authz
import data.mcp.decision

query(role, sql) := {
	"phase": "call",
	"caller": {"roles": [role]},
	"server": {"name": "db"},
	"tool": {"name": "query"},
	"arguments": {"sql": sql},
}

cases := {
	"reads": {"sql": "select id from cases where open", "effect": "allow"},
	"joins what it may read": {"sql": "select * from cases c join accounts a on a.id = c.account", "effect": "allow"},
	"reads what it may not": {"sql": "select * from orders", "effect": "deny"},
	"hides it in a subquery": {"sql": "select 1 from cases where id in (select id from orders)", "effect": "deny"},
	"deletes": {"sql": "delete from cases", "effect": "deny"},
	"asks for two things": {"sql": "select 1 from cases; select 2 from cases", "effect": "deny"},
	"speaks no SQL": {"sql": "give me everything", "effect": "deny"},
	"says nothing": {"sql": null, "effect": "deny"},
}

test_support[name] if {
	some name, case in cases
	decision.decision.effect == case.effect with input as query("support", case.sql)
}

test_analysts_read_orders if {
	decision.decision.effect == "allow" with input as query("analyst", "select * from orders")
}

test_who_reads_nothing_sees_nothing if {
	decision.shown with input as object.remove(query("support", ""), ["arguments"])
	not decision.shown with input as object.remove(query("guest", ""), ["arguments"])
}

test_results_are_cut if {
	authz.max_records == {100} with input as query("support", "select 1 from cases")
	authz.redact == {{"pattern": "card"}} with input as query("support", "select 1 from cases")
}
