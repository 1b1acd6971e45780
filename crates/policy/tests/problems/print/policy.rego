package mcp.authz

allow contains "x" if {
	print("here")
	input.tool.name == "a"
}
