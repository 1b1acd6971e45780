# The servers' definitions, as rules. The gateway carries this file inside itself: it is a layer of its own for every
# server that has a definition.
package mcp.authz

allow contains "the server's definition" if {
	data.servers[input.server.name].never
}
