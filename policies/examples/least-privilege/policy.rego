# Least privilege by role: a table says which role may use which tool, and nothing else is allowed.
package mcp.authz

allow contains {"code": "granted", "message": sprintf("granted to %s", [role])} if some role in granted

granted contains role if {
	some role in input.caller.roles
	input.tool.name in data.grants[role][input.server.name]
}

# What the server itself calls destructive needs a second pair of eyes. An approval is enough on its own, so it is asked
# only of those who were granted the tool: nobody else gets it by asking.
approve contains {
	"code": "destructive",
	"message": "the server calls this destructive",
	"approvers": ["group:owners"],
	"ttl": "15m",
} if {
	input.tool.annotations.destructiveHint == true
	count(granted) > 0
}

# A program that acts for nobody gets no role that was meant for people.
deny contains {"code": "people_only", "message": "this role is for people"} if {
	input.caller.kind == "machine"
	some role in input.caller.roles
	role in data.people_only
}
