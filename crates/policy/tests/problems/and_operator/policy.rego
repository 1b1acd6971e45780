package mcp.authz

allow contains "x" if input.tool.name == "a" && input.server.name == "b"
