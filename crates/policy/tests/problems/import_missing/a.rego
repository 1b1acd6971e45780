package mcp.authz

allow contains "x" if lib.reads(input.tool.name)
