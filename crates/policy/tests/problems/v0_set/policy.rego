package mcp.authz

deny[msg] {
	msg := "no"
}
