# Everything that is not a tool. Rules may be spread over as many files as you like.
package mcp.authz

# --- Prompts and resources ---

# A completion is judged with the prompt or resource it belongs to, so these rules cover it.
allow contains "everyone uses prompts" if input.prompt

allow contains "everyone reads documents" if {
	input.server.name == "files"
	input.resource.scheme == "file"
	not input.resource.authority
}

# The path comes decoded and without dot segments; a template is judged by its own text and again when it is filled in.
deny contains {"code": "path_hidden", "message": "hidden files and folders are off limits"} if {
	some step in input.resource.path
	startswith(step, ".")
}

# --- What a server may ask of the caller's client ---

# Forms to fill in are fine: the client shows them and the person answers. Nothing here allows `sampling/createMessage`
# (the server would borrow the client's model) or `roots/list` (it would learn the client's folders).
allow contains "servers may ask with a form" if {
	input.method == "elicitation/create"
	object.get(input.params, "mode", "form") == "form"
}
