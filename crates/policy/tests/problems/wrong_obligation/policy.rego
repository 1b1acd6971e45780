package mcp.authz

allow contains "x" if input.tool.name == "a"

redact contains {"fields": "ssn"} if input.tool.name == "a"

redact contains {"pattern": "adress"} if input.tool.name == "a"

max_records contains {"max": "many"} if input.tool.name == "a"

limit contains {"name": "exports", "rate": "10 per hour", "by": "session"} if input.tool.name == "a"

timeout contains 5 if input.tool.name == "a"

audit contains {"level": "everything"} if input.tool.name == "a"
