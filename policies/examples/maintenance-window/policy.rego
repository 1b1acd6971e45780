# Changes to production in their window: agreed to at any time of the day, made in the window alone, by who agreed and nobody else.
package mcp.authz

changing if {
	input.tool.name in data.changing
	"operations" in input.caller.groups
}

allow contains "reading, at any time" if input.tool.name in data.reading

# Asked for in the afternoon, agreed to in the evening, made at night: once, and never outside the window.
approve contains {
	"code": "change",
	"message": "a change to production needs the owner of the service",
	"approvers": ["group:service-owners"],
	"ttl": "8h",
	"grant": {
		"kind": "window",
		"not_before": data.window.not_before,
		"until": data.window.until,
		"timezone": data.window.timezone,
	},
} if {
	input.phase == "call"
	changing
}

# The last word: a freeze that was declared after the yes stops the change, and the yes is still there when it ends.
deny contains {"code": "freeze", "message": "changes are frozen, an incident is being worked on"} if {
	input.phase == "call"
	changing
	data.frozen
}

# A yes from before the day's handover is not one of today.
deny contains {"code": "stale", "message": "agreed to too long ago, ask again"} if input.approval.age_s > 43200
