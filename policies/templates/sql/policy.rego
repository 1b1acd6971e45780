# A database behind a tool that takes SQL: one statement that reads, from tables on the list of the caller's roles.
package mcp.authz

allow contains "reads the tables of its roles" if {
	input.server.name == "db"
	input.tool.name == "query"
	parsed.ok
	parsed.operations == {"read"}
	count(parsed.tables - readable) == 0
}

# The argument as facts; see docs/policy.md. What cannot be read has `ok: false`.
parsed := sql.parse(input.arguments.sql, "postgres") if is_string(input.arguments.sql)

readable := {table |
	some role in input.caller.roles
	some table in data.readable[role]
}

# In a list there are no arguments yet: whoever may read any table sees the tool.
visible contains "may read something" if {
	input.server.name == "db"
	input.tool.name == "query"
	count(readable) > 0
}

deny contains {"code": "sql_several", "message": "one statement at a time"} if {
	input.server.name == "db"
	input.tool.name == "query"
	parsed.multiple
}

# Long answers are cut, and what looks like a card number is hidden.
max_records contains 100 if input.server.name == "db"

redact contains {"pattern": "card"} if input.server.name == "db"
