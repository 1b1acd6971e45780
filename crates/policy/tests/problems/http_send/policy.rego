package mcp.authz

allow contains "x" if http.send({"method": "get", "url": "https://directory.example/me"}).status_code == 200
