package mcp.autz

allow contains "x" if input.tool.name == "a"
