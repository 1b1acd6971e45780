package mcp.authz

# Left over from trying things out.
allow contains "everyone reads" if true
