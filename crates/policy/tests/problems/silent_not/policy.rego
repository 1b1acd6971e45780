package mcp.authz

deny contains {"code": "path_outside"} if {
	input.tool.name == "read_file"
	not startswith(input.arguments.path, "/srv/")
}

redact contains {"field": item.name} if {
	some item in input.arguments.items
	not item.kind in {"public", "shared"}
}
