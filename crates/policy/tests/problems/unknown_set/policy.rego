package mcp.authz

denny contains "x" if input.tool.name == "a"
