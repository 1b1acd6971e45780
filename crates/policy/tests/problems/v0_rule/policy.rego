package mcp.authz

allow { input.tool.name == "a" }
