package mcp.authz

allow contains "x" if input.tool.name == "a"

test_x if "x" in allow with input as {"tool": {"name": "a"}}
