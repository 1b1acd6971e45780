# What a support agent may do at the demo's two servers.
#
# Nothing is allowed that no rule below allows. `allow` says what may be called and read, `deny` takes back what must
# not happen whoever asks, `visible` says which tools are listed whose rules look at arguments (there are none in a list).
package mcp.authz

support if "support" in input.caller.roles

# The support desk: reading cases, policies and prompts, and waiting for a report.
allow contains "support works on cases" if {
	support
	input.server.name == "crm"
	input.tool.name in {"search_cases", "get_case", "export_report"}
}

allow contains "support reads policies and cases" if {
	support
	input.server.name == "crm"
	input.resource.scheme == "crm"
	not startswith(input.resource.uri, "crm://ledger")
}

# Whose account a case is about is nobody's business here.
redact contains {"result": "/account"} if {
	input.server.name == "crm"
	input.tool.name == "get_case"
}

# SQL is for looking things up: one statement, and it is a SELECT.
lookup(sql) if {
	is_string(sql)
	statement := trim_suffix(lower(trim_space(sql)), ";")
	startswith(statement, "select ")
	not contains(statement, ";")
}

allow contains "support queries the database" if {
	support
	input.server.name == "crm"
	input.tool.name == "query_database"
	lookup(input.arguments.sql)
}

deny contains {"code": "sql_not_select", "message": "only SELECT is allowed"} if {
	input.server.name == "crm"
	input.tool.name == "query_database"
	sql := input.arguments.sql
	not lookup(sql)
}

visible contains "support may query" if {
	support
	input.server.name == "crm"
	input.tool.name == "query_database"
}

# Deleting an account takes a person's yes, each time.
senior if "senior" in input.caller.roles

allow contains "senior support may ask to delete an account" if {
	senior
	input.server.name == "crm"
	input.tool.name == "delete_account"
}

approve contains {"code": "deletes_account", "message": "deletes a customer's account for good"} if {
	senior
	input.server.name == "crm"
	input.tool.name == "delete_account"
}

# The notebook: read all of it, write under agent/ only.
allow contains "support reads notes" if {
	support
	input.server.name == "notes"
	input.tool.name in {"list_notes", "read_note"}
}

allow contains "support reads notes as resources" if {
	support
	input.server.name == "notes"
	input.resource.scheme == "notes"
}

own(title) if {
	is_string(title)
	startswith(title, "agent/")
}

allow contains "support writes the agent's notes" if {
	support
	input.server.name == "notes"
	input.tool.name == "write_note"
	own(input.arguments.title)
}

deny contains {"code": "not_the_agents_note", "message": "agents write notes under agent/ only"} if {
	input.server.name == "notes"
	input.tool.name == "write_note"
	title := input.arguments.title
	not own(title)
}

visible contains "support may write notes" if {
	support
	input.server.name == "notes"
	input.tool.name == "write_note"
}
