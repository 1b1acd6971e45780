# The platform's layer: what no tenant may do, and how much of it. It allows the rest, for the tenants to decide.
package mcp.authz

allow contains "the tenant decides"

deny contains {"code": "other_tenant", "message": "this server belongs to another tenant"} if {
	owner := data.owners[input.server.name]
	owner != input.tenant
}

deny contains {"code": "destructive", "message": "the platform lets nobody destroy"} if {
	input.tool.annotations.destructiveHint == true
}

redact contains {"pattern": "aws_access_key"}

limit contains {"name": "tenant", "rate": "1000/1m", "by": "caller"}

max_bytes contains 1048576
