package mcp.authz

approve contains {"code": "big", "ttl": "15 minutes"} if input.tool.name == "a"

deny contains {"message": "no code"} if input.tool.name == "b"
