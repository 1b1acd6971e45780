# Tools for active sessions: without one they cannot be called, and a yes is for the session it was asked in.
package mcp.authz

allow contains "support reads" if {
	input.tool.name in data.reading
	"support" in input.caller.roles
}

approve contains {
	"code": "customer_record",
	"message": "opens a customer's record",
	"approvers": ["group:support-leads"],
	"risk": "low",
	"grant": {"kind": "session", "valid_for": "1h"},
} if {
	input.tool.name in data.bound
	"support" in input.caller.roles
}

# A session the gateway has opened, or the sign-in that an access token belongs to.
bound if input.session.id

bound if {
	is_string(input.caller.claims.sid)
	input.caller.claims.sid != ""
}

deny contains {"code": "session_required", "message": "this tool is for active sessions only"} if {
	input.phase == "call"
	input.tool.name in data.bound
	not bound
}

deny contains {"code": "session_expired", "message": "the session is too old for this tool: begin a new one"} if {
	input.phase == "call"
	input.tool.name in data.bound
	input.session.age_s > 3600
}

# The last word: a yes that another policy gave, for longer than a session, does not do here.
deny contains {"code": "grant_too_wide", "message": "only a yes for this session counts"} if {
	input.tool.name in data.bound
	input.approval.present
	input.grant.kind != "session"
}
