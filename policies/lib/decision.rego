# How the authors' sets become one decision.
#
# The gateway carries this file inside itself and decides exactly so; it is here to be read, and for tests to ask
# `data.mcp.decision.decision`. A policy cannot change it and need not load it.
package mcp.decision

# deny beats approve beats allow; where nothing holds, the call is refused.
decision := {"effect": "deny", "reasons": data.mcp.authz.deny} if {
	count(data.mcp.authz.deny) > 0
} else := {"effect": "approve", "reasons": data.mcp.authz.approve} if {
	count(data.mcp.authz.approve) > 0
} else := {"effect": "allow", "reasons": data.mcp.authz.allow} if {
	count(data.mcp.authz.allow) > 0
} else := {"effect": "deny", "reasons": {{"code": "no_rule", "message": "no rule allows this"}}}

# Whether an item of a list is shown: whatever may be called, with or without approval, and what `visible` adds.
# When it filters a list, the gateway leaves out the rules that read `input.arguments`: a list has none.
#
# What only a missing scope denies is shown to callers with an access token: they can ask for one with more scopes.
default shown := false

shown if {
	not hidden
	count((data.mcp.authz.visible | data.mcp.authz.allow) | data.mcp.authz.approve) > 0
}

hidden if {
	some entry in data.mcp.authz.deny
	not names_scopes(entry)
}

hidden if {
	count(data.mcp.authz.deny) > 0
	object.get(input, ["caller", "iss"], "") == ""
}

names_scopes(entry) if count(entry.scopes) > 0
