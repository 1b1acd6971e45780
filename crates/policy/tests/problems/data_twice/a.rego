package mcp.authz

allow contains "x" if data.a
