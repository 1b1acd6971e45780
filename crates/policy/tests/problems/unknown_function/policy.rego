package mcp.authz

deny contains "x" if {
	input.server.name == "files"
	not startwith(input.arguments.path, "/srv/")
}
