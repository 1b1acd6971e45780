# Production apart from everything else: who may reach it, and what was seen there stays there.
package mcp.authz

# A session with a production server cannot even be opened without the group.
deny contains {"code": "production_closed", "message": "production is for its operators"} if {
	input.phase == "connect"
	closed
}

deny contains {"code": "production_closed", "message": "production is for its operators"} if {
	input.phase in {"call", "list"}
	closed
}

closed if {
	input.server.environment == "production"
	not "production" in input.caller.groups
}

allow contains "granted in this environment" if {
	input.tool.name in data.granted[input.server.environment]
}

# What a session has seen of production is remembered with it ..
labels contains "production" if input.server.environment == "production"

# .. and such a session tells nothing to servers of another environment.
deny contains {"code": "leaves_production", "message": "this session has seen production data; use another one"} if {
	"production" in input.flow.labels
	input.server.environment != "production"
}
