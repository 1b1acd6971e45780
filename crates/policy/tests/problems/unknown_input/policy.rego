package mcp.authz

deny contains "x" if not "admin" in input.caller.role
