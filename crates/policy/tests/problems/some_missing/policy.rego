package mcp.authz

allow contains "x" if role in input.caller.roles
