# Access for a task: agreed to once for the session, over when the task is. A gateway sees a task end when its session does, when
# its time is up, and when the agent calls what closes it.
package mcp.authz

allow contains "tickets" if input.tool.name in data.tickets

approve contains {
	"code": "task",
	"message": "production access for a ticket",
	"approvers": ["group:on-call"],
	"grant": {"kind": "session", "uses": 20, "valid_for": "2h"},
} if {
	input.phase == "call"
	input.tool.name in data.production
	startswith(input.arguments.ticket, "OPS-")
}

# History is of the session: closing any ticket ends what was agreed to in it. A new task begins a new session.
over if {
	some closing in data.closing
	input.history.calls_by_tool[closing] > 0
}

deny contains {"code": "task_over", "message": "the task is closed: begin a new session for the next one"} if {
	input.phase == "call"
	input.tool.name in data.production
	over
}

# The last minutes of a grant are no time to begin something with.
deny contains {"code": "ends_soon", "message": "what was agreed to ends within a minute, ask again"} if {
	input.approval.present
	input.grant.until_ns - input.request.time_ns < 60000000000
}
