# How the authors' sets become one decision.
#
# The gateway carries this file inside itself and decides exactly so; it is here to be read, and for tests to ask
# `data.mcp.decision.decision`. A policy cannot change it and need not load it.
package mcp.decision

import data.mcp.authz

# deny beats approve beats allow; where nothing holds, the call is refused.
decision := {"effect": "deny", "reasons": authz.deny} if {
	count(authz.deny) > 0
} else := {"effect": "approve", "reasons": authz.approve} if {
	count(authz.approve) > 0
} else := {"effect": "allow", "reasons": authz.allow} if {
	count(authz.allow) > 0
} else := {"effect": "deny", "reasons": {{"code": "no_rule", "message": "no rule allows this"}}}

# Whether an item of a list is shown: whatever may be called, with or without approval, and what `visible` adds.
# When it filters a list, the gateway leaves out the rules that read `input.arguments`: a list has none.
default shown := false

shown if {
	count(authz.deny) == 0
	count((authz.visible | authz.allow) | authz.approve) > 0
}
