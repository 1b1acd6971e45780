package mcp.authz

allow contains "x" if time.now_ns() > 1
