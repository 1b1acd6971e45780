package mcp.authz

allow contains "x" if a

a if b

b if a
