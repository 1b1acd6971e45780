# The least a policy can be: what judging costs when the rules cost nothing.
package mcp.authz

allow contains "all"

visible contains "all"
