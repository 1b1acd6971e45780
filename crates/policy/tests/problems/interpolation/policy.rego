package mcp.authz

allow contains $"{input.tool.name}" if input.tool.name
