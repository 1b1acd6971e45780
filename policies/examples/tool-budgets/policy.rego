# Budgets by tool: so many calls in a session, so many in an hour for everybody together, and an end when too much left.
package mcp.authz

allow contains "has a budget" if data.budgets[input.tool.name]

# `limit` is counted by the gateway, across sessions, and says when to try again.
limit contains {"name": input.tool.name, "rate": data.budgets[input.tool.name].rate, "by": "caller"} if {
	data.budgets[input.tool.name].rate
}

# `input.history` is what this session did before: for totals, and for what depends on each other. In lists these rules
# are silent: a tool that is denied there is hidden, and calling it is answered as if it did not exist.
deny contains {"code": "budget_spent", "message": sprintf("%d calls of %s a session", [most, input.tool.name])} if {
	input.phase == "call"
	most := data.budgets[input.tool.name].session
	object.get(input.history.calls_by_tool, [input.tool.name], 0) >= most
}

deny contains {"code": "too_much_out", "message": "this session has been given enough for one hour"} if {
	input.phase == "call"
	input.history.hour.records_out >= data.records_an_hour
}

# Somebody who is refused again and again is looking for a way.
deny contains {"code": "probing", "message": "too many refused calls; start over later"} if {
	input.phase == "call"
	input.history.hour.denials >= 20
}
