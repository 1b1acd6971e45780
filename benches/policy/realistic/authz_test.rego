# The bench's own calls pass; the same calls with one thing wrong do not.
package mcp.authz_test

import data.mcp.authz

query := {
	"phase": "call",
	"caller": {"sub": "bench", "kind": "machine", "roles": ["analyst"], "scopes": ["reports"]},
	"server": {"name": "bench"},
	"method": "tools/call",
	"tool": {"name": "query_database"},
	"arguments": {"database": "crm", "sql": "SELECT id FROM cases WHERE account_id = 40721 LIMIT 20", "limit": 20},
}

denied(sql) := codes if {
	asked := object.union(query, {"arguments": {"sql": sql}})
	denials := authz.deny with input as asked
	codes := {denial.code | some denial in denials}
}

test_an_analyst_queries if {
	authz.allow == {"analysts query the databases"} with input as query
	authz.deny == set() with input as query
}

test_only_select_passes if {
	denied("DELETE FROM cases") == {"sql_not_select"}
	denied("SELECT 1; DROP TABLE cases") == {"sql_several"}
	denied("SELECT * FROM Payroll") == {"sql_secret_table"}
}

test_a_limit_is_needed if {
	authz.deny[{"code": "limit_missing", "message": "say how many rows you need, 500 at most"}] with input as object.union(
		query,
		{"arguments": {"limit": 501}},
	)
}

test_nobody_else_queries if {
	authz.allow == set() with input as object.union(query, {"caller": {"roles": ["support"]}})
}

test_personal_columns_are_asked_for if {
	export := object.union(query, {
		"tool": {"name": "export_report"},
		"arguments": {"format": "csv", "columns": ["case_id", "email"]},
	})
	count(authz.approve) == 1 with input as export
}
