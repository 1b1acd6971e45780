package mcp.authz

allow contains "tenants decide"
