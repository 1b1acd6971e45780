# How much may leave: pages are kept small, results are cut, large ones are withheld, and whole exports need consent.
package mcp.authz

allow contains "reads cases" if {
	input.server.name == "crm"
	input.tool.name == "search_cases"
}

# The caller asked for more than a page: the call goes out with a page. It is judged again with that.
set_arguments contains {"path": "/limit", "value": page} if {
	input.server.name == "crm"
	input.tool.name == "search_cases"
	object.get(input.arguments, ["limit"], page + 1) > page
}

page := max({data.pages[role] | some role in input.caller.roles} | {data.pages.everyone})

# A server that does not keep to the page is cut.
max_records contains page if {
	input.server.name == "crm"
	input.tool.name == "search_cases"
}

max_bytes contains data.bytes if input.server.name == "crm"

approve contains {
	"code": "export",
	"message": "an export leaves the crm",
	"approvers": ["group:data-owners"],
	"quorum": 2,
	"ttl": "1h",
} if {
	exporting
	"analyst" in input.caller.roles
}

exporting if {
	input.server.name == "crm"
	input.tool.name == "export_cases"
}

# What came back is more than anybody would ask for: something is wrong, so nothing is released.
deny contains {"code": "too_many_records", "message": "the server answered far more than was asked for"} if {
	input.response.records > 10 * data.pages.everyone
}

timeout contains "20s" if exporting

# Exports are recorded with their arguments and results.
audit contains {"level": "full"} if exporting
