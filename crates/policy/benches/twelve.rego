package mcp.authz

allow contains "support reads cases" if {
	input.server.name == "crm"
	input.tool.name in {"get_case", "search_cases"}
	"support" in input.caller.roles
}

allow contains "analysts query" if {
	input.server.name == "crm"
	input.tool.name == "query_database"
	"analyst" in input.caller.roles
}

allow contains "editors write documents" if {
	input.server.name == "files"
	input.tool.name in {"edit_file", "write_file"}
	"editor" in input.caller.roles
}

allow contains "everyone reads documents" if {
	input.server.name == "files"
	input.tool.name in {"list_directory", "read_file"}
}

allow contains "release managers deploy in office hours" if {
	input.server.name == "deploy"
	input.request.weekday in {"Monday", "Tuesday", "Wednesday", "Thursday"}
	input.request.hour >= 8
	input.request.hour < 16
	"release-manager" in input.caller.roles
}

deny contains {"code": "sql_not_select", "message": "only SELECT is allowed"} if {
	input.tool.name == "query_database"
	not selects
}

selects if startswith(lower(trim_space(input.arguments.sql)), "select")

deny contains {"code": "too_many_rows", "message": "ask for at most 100 rows"} if {
	input.tool.name == "query_database"
	object.get(input.arguments, "limit", 1000) > 100
}

deny contains {"code": "path_escapes", "message": "a path may not climb"} if {
	input.server.name == "files"
	contains(input.arguments.path, "..")
}

deny contains {"code": "external_mail", "message": "mail goes to our own domain only"} if {
	input.tool.name == "send_mail"
	some recipient in input.arguments.to
	not endswith(recipient, "@corp.example")
}

deny contains {"code": "foreign_network", "message": "production is reached from our own network only"} if {
	input.server.environment == "production"
	not from_own_network
}

from_own_network if net.cidr_contains("10.0.0.0/8", input.request.ip)

approve contains {"code": "destructive", "approvers": ["group:crm-leads"], "quorum": 1, "ttl": "15m"} if {
	input.tool.name in {"delete_account", "merge_accounts"}
}

approve contains {"code": "large_refund", "approvers": ["group:finance"], "quorum": 2, "ttl": "1h"} if {
	input.tool.name == "refund"
	input.arguments.amount > 500
}
