package mcp.authz

allow contains "x" if f(1)

f(x) := f(x + 1)
