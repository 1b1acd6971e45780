# What agents may do at the CRM. What nothing here allows is refused and hidden.
package mcp.authz

allow contains "support reads cases" if {
	input.server.name == "crm"
	input.tool.name in {"get_case", "search_cases"}
	"support" in input.caller.roles
}

# A tool that the server calls destructive needs somebody's consent, whoever calls it and whatever else allows it.
approve contains {"code": "destructive", "message": "the server calls this destructive"} if {
	input.tool.annotations.destructiveHint == true
}
