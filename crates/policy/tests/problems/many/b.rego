package mcp.other

x := 1
