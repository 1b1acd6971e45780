# One switch in `data.json` for the day things go wrong: everything that could change something is refused.
#
# Reading must be known to be reading. A server's own `readOnlyHint` counts where the configuration trusts the server.
package mcp.authz

allow contains "granted" if input.tool.name in data.granted[input.server.name]

allow contains "documents" if input.resource

# In lists the tools stay: who calls one is told why not, and what is denied there would look as if it did not exist.
deny contains {"code": "read_only", "message": data.mode.why} if {
	input.phase == "call"
	frozen
	not reads
}

frozen if data.mode.read_only == ["*"]

frozen if input.server.name in data.mode.read_only

reads if input.tool.name in data.reading[input.server.name]

reads if {
	input.tool.annotations_trusted
	input.tool.annotations.readOnlyHint == true
}

reads if input.resource

# While frozen, servers may not start anything at the client either.
deny contains {"code": "read_only", "message": data.mode.why} if {
	input.phase == "server_request"
	frozen
}
