# Who may use which tool: the table in `data.json`, by role, server and tool. What it does not name is refused.
package mcp.authz

allow contains sprintf("role %s", [role]) if {
	some role in input.caller.roles
	input.tool.name in data.grants[role][input.server.name]
}

# Arguments: what must not be asked, whoever asks. `not inside` holds as well when the argument is missing or no text.
deny contains {"code": "path_outside", "message": "only below /srv/docs"} if {
	input.tool.name in data.path_tools
	not inside
}

inside if {
	path := input.arguments.path
	is_string(path)
	startswith(path, "/srv/docs/")
	not ".." in split(path, "/")
}
