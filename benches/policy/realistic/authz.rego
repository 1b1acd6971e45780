# What a small company lets its agents do with a CRM: twelve rules on roles, tools and arguments.
#
# The calls of the bench pass. Each of them makes every rule look at the tool and most of them at the arguments.
package mcp.authz

# What agents may do at all.

allow contains "analysts query the databases" if {
	input.server.name == "bench"
	input.tool.name == "query_database"
	"analyst" in input.caller.roles
	input.arguments.database in {"crm", "sales"}
}

allow contains "analysts export reports" if {
	input.server.name == "bench"
	input.tool.name == "export_report"
	"analyst" in input.caller.roles
	"reports" in input.caller.scopes
}

allow contains "support and analysts read cases" if {
	input.server.name == "bench"
	input.tool.name in {"follow_case", "get_case", "search_cases"}
	some role in input.caller.roles
	role in {"support", "analyst"}
}

allow contains "operators do what they must" if {
	input.server.name == "bench"
	"operator" in input.caller.roles
	"operate" in input.caller.scopes
}

# What nobody may do, whatever the role.

deny contains {"code": "sql_not_select", "message": "only SELECT is allowed"} if {
	input.tool.name == "query_database"
	not is_select
}

is_select if startswith(lower(trim_space(input.arguments.sql)), "select ")

deny contains {"code": "sql_several", "message": "one statement at a time"} if {
	input.tool.name == "query_database"
	contains(input.arguments.sql, ";")
}

deny contains {"code": "sql_secret_table", "message": "this table is not for agents"} if {
	input.tool.name == "query_database"
	some table in ["credentials", "payroll", "payment_cards", "audit_log"]
	contains(lower(input.arguments.sql), table)
}

deny contains {"code": "limit_missing", "message": "say how many rows you need, 500 at most"} if {
	input.tool.name in {"query_database", "export_report"}
	not reasonable_limit
}

deny contains {"code": "format_unknown", "message": "reports leave as CSV or JSON only"} if {
	input.tool.name == "export_report"
	not is_known_format
}

is_known_format if input.arguments.format in {"csv", "json"}

deny contains {"code": "case_id", "message": "a case is named CASE- and digits"} if {
	input.tool.name in {"follow_case", "get_case"}
	not is_case_id
}

is_case_id if regex.match(`^CASE-[0-9]{1,9}$`, input.arguments.case_id)

# What somebody must look at first.

approve contains {"code": "personal_columns", "approvers": ["group:privacy"], "quorum": 1, "ttl": "15m"} if {
	input.tool.name == "export_report"
	some column in input.arguments.columns
	column in {"email", "phone", "birth_date", "address"}
}

# What stands in lists.

visible contains "agents see the tools they may call" if {
	input.server.name == "bench"
	some role in input.caller.roles
	role in {"support", "analyst", "operator"}
}

reasonable_limit if {
	input.arguments.limit > 0
	input.arguments.limit <= 500
}
