package mcp.authz

denny contains "x" if input.tool

allow := true

deny contains "y" if not startwith(input.tool.nam, "a")
