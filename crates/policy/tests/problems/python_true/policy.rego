package mcp.authz

allow contains "x" if input.tool.annotations_trusted == True
