package mcp.authz

allow contains "x" {
	input.tool.name == "a"
}
