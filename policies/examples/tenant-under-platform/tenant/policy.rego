# A tenant's own layer, judged beside the platform's. It can be stricter and never wider: a rule here that allows
# everything changes nothing of what the platform refuses.
package mcp.authz

allow contains "support works on cases" if {
	input.server.name == "acme-crm"
	input.tool.name in {"delete_case", "get_case", "search_cases"}
	"support" in input.caller.roles
}

allow contains "everyone reads the wiki" if {
	input.server.name == "wiki"
	input.tool.name == "search"
}

# Stricter than the platform's: the least counts.
max_bytes contains 65536 if input.server.name == "acme-crm"

redact contains {"pattern": "email"} if input.server.name == "acme-crm"
