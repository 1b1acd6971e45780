# Fields nobody may ask for, and nobody gets: refused in the request, taken out of the result.
package mcp.authz

allow contains "reads records" if {
	input.server.name == "crm"
	input.tool.name in {"get_record", "query"}
}

# In arguments that list fields.
deny contains {"code": "field_denied", "message": sprintf("the field %s is off limits", [field])} if {
	some field in input.arguments.fields
	is_string(field)
	lower(field) in denied
}

# In a query; `soql.parse` answers what it would read, `ok: false` when it cannot tell.
deny contains {"code": "field_denied", "message": sprintf("the field %s is off limits", [field])} if {
	input.tool.name == "query"
	some field in parsed.fields
	field in denied
}

deny contains {"code": "query_unread", "message": "this query cannot be read, so it is not sent"} if {
	input.tool.name == "query"
	not parsed.ok
}

deny contains {"code": "fields_unnamed", "message": "name the fields, all of them is too many"} if {
	input.tool.name == "query"
	parsed.ok
	parsed.star
}

parsed := soql.parse(input.arguments.query) if is_string(input.arguments.query)

# Whatever comes back, and however it is nested: gone for most, hidden for auditors, who may know that it is there.
redact contains {"field": field, "remove": true} if {
	input.server.name == "crm"
	some field in denied
	not "auditor" in input.caller.roles
}

redact contains {"field": field} if {
	input.server.name == "crm"
	some field in denied
	"auditor" in input.caller.roles
}

# A free text may hold what no field name tells of.
redact contains {"pattern": pattern} if {
	input.server.name == "crm"
	some pattern in ["card", "ssn"]
}

denied contains lower(field) if some field in data.denied_fields
