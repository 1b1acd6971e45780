package mcp.authz

deny contains {"code": "closed", "mesage": "not now"} if input.tool.name == "a"

approve contains {"code": "big", "group": "security"} if input.tool.name == "b"
