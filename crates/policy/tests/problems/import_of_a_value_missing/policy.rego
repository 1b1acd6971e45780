package mcp.authz

allow contains "x" if grants.read in input.caller.roles
