# A database behind a tool that takes SQL: one statement that reads, tables and columns on the list of the caller's roles.
#
# `sql.parse` answers what the text would do, through subqueries, joins and WITH. What it cannot read has `ok: false`.
package mcp.authz

asked if {
	input.server.name == "warehouse"
	input.tool.name == "query"
}

parsed := sql.parse(input.arguments.sql, "postgres") if is_string(input.arguments.sql)

allow contains "reads what its roles may read" if {
	asked
	parsed.ok
	parsed.operations == {"read"}
	not parsed.multiple
	count(parsed.tables - readable) == 0
}

readable := {table |
	some role in input.caller.roles
	some table, _ in data.tables[role]
}

# `*` would return columns nobody has thought of.
deny contains {"code": "sql_star", "message": "name the columns instead of `*`"} if {
	asked
	parsed.star
}

deny contains {"code": "sql_column", "message": sprintf("the column %s is off limits", [column])} if {
	asked
	some column in parsed.columns
	column in data.hidden_columns
}

# Functions that read files, sleep or reach out have no place in a query of a caller.
deny contains {"code": "sql_function", "message": sprintf("the function %s is not on the list", [name])} if {
	asked
	parsed.ok
	some name in parsed.functions
	not name in data.functions
}

# A list has no arguments: who may read anything sees the tool.
visible contains "may read something" if {
	asked
	count(readable) > 0
}
