package mcp.authz

default allow := false
