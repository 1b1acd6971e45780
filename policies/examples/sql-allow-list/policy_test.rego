package mcp.authz_test

import data.mcp.decision.decision
import data.mcp.decision.shown

query(role, text) := {
	"phase": "call",
	"caller": {"roles": [role]},
	"server": {"name": "warehouse"},
	"tool": {"name": "query"},
	"arguments": {"sql": text},
}

cases := {
	"reads": {"sql": "select id, title from cases where open", "code": "allowed"},
	"counts": {"sql": "select count(id) from cases", "code": "allowed"},
	"joins": {"sql": "select c.id from cases c join accounts a on a.id = c.account", "code": "allowed"},
	"another table": {"sql": "select id from orders", "code": "no_rule"},
	"another table in a subquery": {"sql": "select id from cases where id in (select id from orders)", "code": "no_rule"},
	"another table in WITH": {"sql": "with o as (select id from orders) select id from o", "code": "no_rule"},
	"another table behind a comment": {"sql": "select id from /* cases */ orders", "code": "no_rule"},
	"a star": {"sql": "select * from cases", "code": "sql_star"},
	"a hidden column": {"sql": "select ssn from accounts", "code": "sql_column"},
	"a function that sleeps": {"sql": "select pg_sleep(9), id from cases", "code": "sql_function"},
	"deletes": {"sql": "delete from cases where id = 1", "code": "no_rule"},
	"two statements": {"sql": "select id from cases; select id from cases", "code": "no_rule"},
	"no SQL": {"sql": "all of it, please", "code": "sql_star"},
	"no text": {"sql": ["select 1"], "code": "no_rule"},
}

code(input_document) := "allowed" if {
	decision.effect == "allow" with input as input_document
} else := min({reason.code | some reason in reasons}) if {
	reasons := decision.reasons with input as input_document
}

test_support[name] if {
	some name, case in cases
	code(query("support", case.sql)) == case.code
}

test_analysts_read_orders if code(query("analyst", "select id from orders")) == "allowed"

test_the_tool_is_shown_to_who_may_read if {
	shown with input as object.union(object.remove(query("support", ""), ["arguments"]), {"phase": "list"})
	not shown with input as object.union(object.remove(query("guest", ""), ["arguments"]), {"phase": "list"})
}
