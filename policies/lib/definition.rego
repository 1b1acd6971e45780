# What a server's definition (its `mcp_server` document) lets through, as rules.
#
# The gateway carries this file inside itself, with the words of `definition.json` as `data.tables`: it is a layer of its
# own for every server that has a definition, beside the platform's policy and the tenant's, and the strictest of them
# counts. It only ever narrows. Whatever cannot be told, which object is meant or which operation, is refused with a code
# that says what is missing; `mapping` in the definition tells it.
package mcp.authz

definition := data.servers[input.server.name]

permissions := object.get(definition, "permissions", {})

access := object.get(definition, "access_control", {})

mapping := object.get(definition, "mapping", {})

arguments := object.get(input, "arguments", {})

# A call is allowed unless `problems` has something against it; that both operation and object are known and allowed is
# among them.
allow contains "the server's definition" if {
	input.method == "tools/call"
	definition
}

allow contains "a method that the server's definition names" if {
	input.method != "tools/call"
	method_named
}

method_named if input.method in object.get(mapping, "methods", [])

deny contains problem if {
	input.method == "tools/call"
	some problem in problems
}

deny contains {"code": "method_not_allowed", "message": "the server's definition allows tools only"} if {
	input.phase == "call"
	input.method != "tools/call"
	not method_named
}

# A list has no arguments: a tool is shown unless its name says that it does what nobody may.
deny contains {"code": "operation_not_allowed", "message": "operation not allowed on this server"} if {
	input.phase == "list"
	input.tool
	count(name_operations - (allowed_operations | {"execute"})) > 0
}

visible contains "the server's definition" if {
	input.phase == "list"
	input.tool
}

visible contains "a method that the server's definition names" if {
	input.phase == "list"
	input.prompt
	"prompts/get" in object.get(mapping, "methods", [])
}

visible contains "a method that the server's definition names" if {
	input.phase == "list"
	input.resource
	"resources/read" in object.get(mapping, "methods", [])
}

# permissions.allowed_operations

allowed_operations := {operation |
	some word in object.get(permissions, "allowed_operations", [])
	some operation in data.tables.meanings[lower(word)]
}

tool_words := facts.words(input.tool.name)

told := object.get(object.get(mapping, "tools", {}), input.tool.name, {})

name_operations := {operation | some operation in data.tables.meanings[lower(told.operation)]} if told.operation

name_operations := {operation |
	some word in tool_words
	some operation in data.tables.verbs[word]
} if {
	not told.operation
}

# What a query does is read from its text; a name that says that something is run says nothing more.
operations contains operation if {
	some operation in name_operations
	not excused(operation)
}

excused("execute") if {
	count(texts) > 0
	nouns_known
	not told.operation
}

operations contains operation if {
	some reading in readings
	some operation in reading.operations
}

operations contains operation if {
	some leaf in leaves
	leaf.name in {"operation", "action"}
	some operation in object.get(data.tables.verbs, lower(sprintf("%v", [leaf.value])), ["unknown"])
}

problems contains {"code": "operation_unknown", "message": "what the tool does cannot be told from its name and arguments"} if {
	count(operations) == 0
}

# What a caller adds must not say what a tool does whose name says nothing.
problems contains {"code": "operation_unknown", "message": "what the tool does cannot be told from its name: see `mapping.tools`"} if {
	count(name_operations) == 0
}

problems contains {"code": "operation_not_allowed", "message": message} if {
	some operation in operations - allowed_operations
	message := sprintf("operation not allowed on this server: %s", [operation])
}

# permissions.allowed_objects

any_object if "*" in object.get(permissions, "allowed_objects", [])

# In quotes as well: a name that a query has in quotes is compared letter by letter.
allowed_objects := {name |
	some object in object.get(permissions, "allowed_objects", [])
	some name in [lower(object), sprintf("\"%s\"", [object])]
}

leaves := facts.leaves(arguments)

plain(name) := lower(replace(replace(name, "_", ""), "-", ""))

# A server ignores an argument that its tool does not declare: nothing may follow from it. Where `mapping` says both what
# the tool does and to what, nothing does.
problems contains {"code": "argument_unknown", "message": sprintf("the tool declares no argument `%v`", [name])} if {
	input.tool.parameters
	some name, _ in arguments
	not name in input.tool.parameters
	not told_whole
}

told_whole if {
	told.object
	told.operation
}

object_names := {plain(name) | some name in mapping.object} if mapping.object

object_names := {
	"entities", "entity", "entityname", "object", "objectname", "objects", "objecttype", "sobject", "sobjectname",
	"sobjects", "sobjecttype", "table", "tablename", "tables", "type", "types",
} if {
	not mapping.object
}

stated contains lower(told.object) if told.object

stated contains lower(leaf.value) if {
	some leaf in leaves
	leaf.name in object_names
	is_string(leaf.value)
}

# Something else than a name where an object is named: which it is cannot be told.
stated contains "?" if {
	some leaf in leaves
	leaf.name in object_names
	value := leaf.value
	not is_string(value)
	not value in [null, {}]
}

# What the tool's name says, when nothing else does: `get_account`, `list_cases`. Each of its words must be known.
fillers := {
	"a", "all", "and", "batch", "bulk", "by", "data", "database", "db", "entity", "entities", "for", "from", "id", "ids",
	"in", "mass", "object", "objects", "of", "one", "record", "records", "row", "rows", "sobject", "sobjects", "soql", "sql",
	"table", "tables", "the", "with",
}

nouns := {word | some word in tool_words; not data.tables.verbs[word]} - fillers

meant(noun) := {noun, trim_suffix(noun, "s"), trim_suffix(noun, "es"), replace(noun, "ies", "y")} & allowed_objects

nouns_known if every noun in nouns { count(meant(noun)) > 0 }

inferred contains object if {
	count(stated) == 0
	count(texts) == 0
	nouns_known
	some noun in nouns
	some object in meant(noun)
}

queried contains object if {
	some reading in readings
	some object in reading.objects
}

objects := (stated | inferred) | queried

problems contains {"code": "object_unknown", "message": "which object is meant cannot be told from the tool's name and arguments"} if {
	count(objects) == 0
	not any_object
	not reads_nothing
}

# `get_user` is about users, whatever else the call says, unless the tool itself asks what it is to be about.
problems contains {"code": "object_unknown", "message": "the tool's name has words that are no object of this server: see `mapping.tools`"} if {
	not any_object
	not told.object
	not nouns_known
	not asks_for_object
}

asks_for_object if {
	some name in input.tool.parameters
	plain(name) in object_names
	is_string(arguments[name])
}

asks_for_object if {
	some name in input.tool.parameters
	some leaf in texts
	leaf.name == plain(name)
	leaf.value == arguments[name]
}

reads_nothing if {
	count(texts) > 0
	operations == {"read"}
}

problems contains {"code": "object_not_allowed", "message": sprintf("object not allowed on this server: %s", [object])} if {
	not any_object
	some object in objects - allowed_objects
}

# Queries

query_names := {plain(name) | some name in mapping.query} if mapping.query

query_names := {"q", "queries", "statement", "statements"} if not mapping.query

texts := {leaf |
	some leaf in leaves
	holds_query(leaf.name)
	value := leaf.value
	not value in [null, {}]
	not free(leaf)
}

holds_query(name) if name in query_names

holds_query(name) if {
	not mapping.query
	regex.match("sql|soql|query", name)
}

# A text to search for is no query: nothing in it could begin or continue one. Only where the tool's name says that it
# searches.
free(leaf) if {
	not mapping.query
	leaf.name in {"q", "query"}
	is_string(leaf.value)
	count(tool_words & {"find", "lookup", "search"}) > 0
	count(tool_words & {"graphql", "query", "soql", "sql"}) == 0
	not regex.match(`[{}();'"]`, leaf.value)
	not regex.match(
		`(?i)\b(select|insert|update|delete|merge|with|from|drop|alter|create|truncate|grant|revoke|exec|execute|call|into|union|table|copy|find|do|set|show|replace|values|shutdown|commit|rollback|revert|reconfigure|checkpoint|kill|backup|restore|declare|begin|deny|dbcc|explain|analyze|vacuum|attach|detach|pragma|prepare|lock|unlock|rename|load|mutation|subscription|[sx]p_[a-z0-9_]+)\b`,
		leaf.value,
	)
}

language(leaf) := "soql" if contains(leaf.name, "soql")

language(leaf) := lower(object.get(mapping, "language", "sql")) if {
	name := leaf.name
	not contains(name, "soql")
}

parsed_sql := {parsed |
	some leaf in texts
	is_string(leaf.value)
	language(leaf) == "sql"
	parsed := sql.parse(leaf.value, lower(object.get(mapping, "dialect", "generic")))
}

parsed_soql := {parsed |
	some leaf in texts
	is_string(leaf.value)
	language(leaf) == "soql"
	parsed := soql.parse(leaf.value)
}

# What is both must pass as both: the way over a relationship (`Owner.Name`) is a column of a table in SQL.
parsed_both := {parsed |
	not mapping.language
	some leaf in texts
	is_string(leaf.value)
	language(leaf) == "sql"
	parsed := soql.parse(leaf.value)
	parsed.ok
}

readings contains {"objects": parsed.tables, "operations": parsed.operations, "parsed": parsed} if some parsed in parsed_sql

readings contains {"objects": all, "operations": parsed.operations, "parsed": parsed} if {
	some parsed in parsed_soql | parsed_both
	reached := {related(name) | some name in parsed.relationships | parsed.parents}
	all := parsed.objects | reached
}

# A relationship need not be named like its object.
related(name) := lower(object.get(
	{lower(key): value | some key, value in object.get(mapping, "relationships", {})},
	name,
	name,
))

problems contains {"code": "query_unreadable", "message": sprintf("the query cannot be read: %s", [reading.parsed.error])} if {
	some reading in readings
	not reading.parsed.ok
}

problems contains {"code": "query_unreadable", "message": "a query must be a text"} if {
	some leaf in texts
	value := leaf.value
	not is_string(value)
}

# A part of a query: what another query in it reads is not looked at.
problems contains {"code": "query_unreadable", "message": "a filter may not hold a query"} if {
	some leaf in leaves
	leaf.name in {
		"condition", "conditions", "criteria", "filter", "filters", "having", "orderby", "sort", "sortby", "where",
		"whereclause",
	}
	is_string(leaf.value)
	regex.match(`(?i)\bselect\b`, leaf.value)
}

problems contains {"code": "query_into", "message": "a query may not write its result somewhere"} if {
	some parsed in parsed_sql
	parsed.into
}

# Functions that read nothing but their arguments are known. Others may reach files or servers, or run texts as queries.
problems contains {"code": "function_not_allowed", "message": sprintf("function not allowed in queries to this server: %s", [name])} if {
	some reading in readings
	some name in reading.parsed.functions
	not data.tables.functions[name]
	not name in {lower(known) | some known in object.get(mapping, "functions", [])}
}

# permissions.denied_fields

denied_fields := object.get(permissions, "denied_fields", [])

problems contains {"code": "field_denied", "message": sprintf("field not allowed: %s", [field])} if {
	some field in facts.mentions(arguments, denied_fields)
}

problems contains {"code": "fields_not_named", "message": "name the fields you want: some of this server's may not be read"} if {
	count(denied_fields) > 0
	some reading in readings
	reading.parsed.star
}

problems contains {"code": "fields_not_named", "message": "name the fields you want: some of this server's may not be read"} if {
	count(denied_fields) > 0
	some leaf in leaves
	leaf.name in {"column", "columns", "field", "fieldnames", "fields", "include", "properties", "returnfields", "select"}
	is_string(leaf.value)
	some part in split(lower(leaf.value), ",")
	trim_space(part) in {"*", "all", "fields(all)", "fields(custom)", "fields(standard)", "custom", "standard"}
}

# Servers fold letters in ways of their own.
problems contains {"code": "fields_not_named", "message": "name fields in ASCII letters: some of this server's may not be read"} if {
	count(denied_fields) > 0
	some reading in readings
	some name in reading.parsed.identifiers
	not regex.match("^[ -~]*$", name)
}

redact contains {"field": field, "remove": true} if {
	some field in object.get(data.servers[input.server.name].permissions, "denied_fields", [])
}

# permissions.max_records_per_query

most := permissions.max_records_per_query

asked_for contains number if {
	some leaf in leaves
	leaf.name in {
		"batchsize", "first", "limit", "max", "maxrecords", "maxresults", "maxrows", "pagesize", "perpage", "rows", "size",
		"take", "top",
	}
	number := as_number(leaf.value)
}

as_number(value) := value if is_number(value)

as_number(value) := to_number(value) if {
	is_string(value)
	regex.match("^[0-9]{1,15}$", value)
}

asked_for contains number if {
	some parsed in parsed_sql
	some statement in parsed.statements
	number := statement.limit
}

asked_for contains number if {
	some reading in readings
	number := reading.parsed.limit
}

problems contains {"code": "too_many_records", "message": sprintf("ask for at most %v records", [most])} if {
	some number in asked_for
	number > most
}

max_records contains data.servers[input.server.name].permissions.max_records_per_query

# access_control.requires_active_session, access_control.session_timeout_minutes

session_bound if input.session.id

session_bound if {
	is_string(input.caller.claims.sid)
	input.caller.claims.sid != ""
}

deny contains {"code": "session_required", "message": "this server is for active sessions only"} if {
	access.requires_active_session
	not session_bound
}

# Of a session the gateway knows its beginning; of a token that belongs to one, when its user was there.
session_age := input.session.age_s

session_age := (input.request.time_ns / 1000000000) - input.caller.auth_time if {
	not input.session.age_s
	input.caller.auth_time
}

deny contains {"code": "session_expired", "message": "the session is too old for this server: begin a new one"} if {
	session_age > access.session_timeout_minutes * 60
}

deny contains {"code": "session_expired", "message": "the age of the session is not known"} if {
	access.session_timeout_minutes
	access.requires_active_session
	not session_age_known
}

session_age_known if session_age >= 0

# access_control.high_risk_approval

risks contains sprintf("operation of high risk: %s", [operation]) if {
	some operation in operations & {"admin", "delete", "execute", "export"}
}

risks contains "the tool works in bulk" if count(tool_words & {"batch", "bulk", "mass"}) > 0

# The server's own word raises the risk, and never lowers it.
risks contains "the server calls this tool destructive" if input.tool.annotations.destructiveHint == true

# A write that says not which records it means, or a read that says neither that nor how many, where nothing caps them.
risks contains "the query means all records" if {
	some parsed in parsed_sql
	some statement in parsed.statements
	statement.unfiltered
	unbounded(statement)
}

risks contains "the query means all records" if {
	some parsed in parsed_soql
	parsed.unfiltered
	not most
	not parsed.limit
}

unbounded(statement) if count(statement.operations & {"delete", "update"}) > 0

unbounded(statement) if {
	statement.operations == {"read"}
	count(statement.tables) > 0
	not most
	not statement.limit
}

approve contains {"code": "high_risk", "message": risk} if {
	input.method == "tools/call"
	data.servers[input.server.name].access_control.high_risk_approval
	some risk in risks
}

# audit.log_response_summary. Of log_all_calls nothing need be said: no call goes unrecorded.

audit contains {"level": "summary"} if data.servers[input.server.name].audit.log_response_summary
