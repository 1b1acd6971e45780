# What agents may do at the server `everything`. What nothing here allows is refused and hidden.
package mcp.authz

allow contains "everyone tries harmless tools" if {
	input.server.name == "everything"
	input.tool.name in {"echo", "get-annotated-message", "get-structured-content", "get-sum", "get-tiny-image"}
}

allow contains "everyone waits for long operations" if {
	input.server.name == "everything"
	input.tool.name == "trigger-long-running-operation"
}

# It would show the server's environment, and with it what the server was given to keep.
deny contains {"code": "environment_hidden", "message": "nobody reads the server's environment"} if {
	input.server.name == "everything"
	input.tool.name == "get-env"
}

# A tool that changes its mind about being harmless needs somebody's consent from then on.
approve contains {"code": "destructive", "message": "the server calls this destructive"} if {
	input.tool.annotations.destructiveHint == true
}
