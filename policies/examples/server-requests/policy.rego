# What a server may ask of the client: a form now and then, never a password, and the model only where it is trusted.
package mcp.authz

allow contains "granted" if input.tool.name in data.tools[input.server.name]

# Elicitation: a form that the person fills in. An address to visit (`mode: url`) could lead anywhere.
allow contains "forms" if {
	input.method == "elicitation/create"
	object.get(input.params, ["mode"], "form") == "form"
}

deny contains {"code": "asks_for_secrets", "message": "a server may not ask for secrets"} if {
	input.method == "elicitation/create"
	some text in asked
	regex.match(`(?i)pass\s*(word|phrase|code)|secret|api.?key|token|\bpin\b|card number`, text)
}

asked contains input.params.message if is_string(input.params.message)

# Names and titles of what is to be filled in.
asked contains name if some name, _ in input.params.requestedSchema.properties

asked contains field.title if {
	some field in input.params.requestedSchema.properties
	is_string(field.title)
}

# Sampling: the server borrows the client's model, and what it writes goes to the server.
allow contains "sampling, within bounds" if {
	input.method == "sampling/createMessage"
	input.server.trust == "first_party"
	is_number(input.params.maxTokens)
	input.params.maxTokens <= 1000
	object.get(input.params, ["includeContext"], "none") == "none"
	not input.params.tools
}

# `roots/list` would tell the server which folders the client has: no rule allows it.
