package mcp.authz

deny contains "x" if input.tool.name in data.blocked
