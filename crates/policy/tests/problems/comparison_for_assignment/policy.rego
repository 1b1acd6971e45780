package mcp.authz

allow contains "x" if {
	name == input.tool.name
	startswith(name, "get_")
}
