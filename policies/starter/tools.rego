# A policy to start from: copy this folder, then change it to what your servers and people are called.
#
# You write sets in the package `mcp.authz`. Each entry says why it is there; it ends up in the audit log.
#
#   allow    what may be done
#   deny     what must not be done, whoever allowed it
#   approve  what somebody has to agree to first
#   visible  what a list shows although no rule allows it without arguments
#
# deny beats approve beats allow. What no rule allows is refused and hidden, so there is no rule here that says so.
# All fields of `input` are described in `policies/schema/input.schema.json`; a misspelt one is refused at load.
package mcp.authz

# --- Reading: the default for everyone ---

# Name what reads. Tools are named with their server: two servers may call different things by one name.
allow contains "everyone reads documents" if {
	input.server.name == "files"
	input.tool.name in {"list_directory", "read_file", "search_files"}
}

# A server says of its own tools which of them only read. Take its word only for servers whose word you trust
# (`annotations_trusted` is set in the configuration, not by the server).
allow contains "trusted server says it only reads" if {
	input.tool.annotations_trusted
	input.tool.annotations.readOnlyHint == true
}

# --- Roles: who may do more ---

allow contains "support works on cases" if {
	input.server.name == "crm"
	input.tool.name in {"add_note", "get_case", "search_cases"}
	"support" in input.caller.roles
}

allow contains "analysts query the database" if {
	input.server.name == "crm"
	input.tool.name == "query_database"
	"analyst" in input.caller.roles
}

allow contains "editors write documents" if {
	input.server.name == "files"
	input.tool.name in {"edit_file", "write_file"}
	"editor" in input.caller.roles
}

# --- Arguments: what must not be asked, whoever asks ---

# One statement, and one that reads. `not` holds as well when there is no `sql` or it is something else than a text,
# so this refuses what it does not understand.
deny contains {"code": "sql_not_select", "message": "only one SELECT statement is allowed"} if {
	input.tool.name == "query_database"
	not reads_only(input.arguments.sql)
}

reads_only(sql) if {
	is_string(sql)
	regex.match(`(?is)^\s*select\s[^;]*;?\s*$`, sql)
	not regex.match(`(?i)\binto\b`, sql)
}

# No way out of the folder that was shared, and none to where secrets lie.
deny contains {"code": "path_escapes", "message": "a path may not climb with `..`"} if {
	input.server.name == "files"
	some path in paths
	".." in split(replace(path, `\`, "/"), "/")
}

deny contains {"code": "path_hidden", "message": "hidden files and folders are off limits"} if {
	input.server.name == "files"
	some path in paths
	some step in split(replace(path, `\`, "/"), "/")
	startswith(step, ".")
	not step in {".", ".."}
}

paths contains input.arguments.path if is_string(input.arguments.path)

paths contains path if {
	some path in input.arguments.paths
	is_string(path)
}

# --- Approval: what somebody has to agree to first ---

# A server's word may always raise the risk. Where it is silent, an unlisted tool is refused anyhow.
approve contains {"code": "destructive", "message": "the server calls this destructive", "quorum": 1, "ttl": "15m"} if {
	input.tool.annotations.destructiveHint == true
	"editor" in input.caller.roles
}
