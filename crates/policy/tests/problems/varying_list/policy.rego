package mcp.authz

allow contains "read" if input.tool.name == "read"

# Read where a tool is called: nothing to say.
deny contains {"code": "spent"} if input.history.calls > 100

visible contains "clean sessions" if not tainted

visible contains "few calls" if input.history.calls < 10

visible contains "the tool" if input.tool.name == "read"

tainted if "private" in input.flow.labels
