package mcp.authz

allow contains 'x' if input.tool.name == "a"
