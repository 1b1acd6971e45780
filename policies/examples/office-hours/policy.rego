# Changes only while somebody is there, and none while a server is being worked on.
package mcp.authz

allow contains "reading, at any time" if input.tool.name in data.reading

allow contains "changes in office hours" if {
	input.tool.name in data.changing
	in_office_hours
}

allow contains "changes by who is on call" if {
	input.tool.name in data.changing
	"on-call" in input.caller.groups
}

# Hours are UTC; `input.request` has the time of the call, so that a decision can be made again later.
in_office_hours if {
	input.request.weekday in data.office.days
	input.request.hour >= data.office.from
	input.request.hour < data.office.until
}

# In lists the tools stay: who calls one is told why not, and what is denied there would look as if it did not exist.
deny contains {"code": "maintenance", "message": sprintf("%s: %s", [input.server.name, window.why])} if {
	input.phase == "call"
	some window in data.maintenance[input.server.name]
	input.request.time_ns >= time.parse_rfc3339_ns(window.from)
	input.request.time_ns < time.parse_rfc3339_ns(window.until)
}
