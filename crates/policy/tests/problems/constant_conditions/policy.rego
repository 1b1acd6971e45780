package mcp.authz

allow contains "x" if {
	input.tool.name == "a"
	"b" == "b"
}

deny contains "y" if false

approve contains "z"
