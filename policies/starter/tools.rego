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
#
# These rules name what they understand and refuse the rest: an argument nobody has thought of, a path that is a list, a
# function that reads files. `not` also holds where the argument is missing or is something else than a text.

# What each tool may be called with. Most servers ignore others; some do not.
takes := {
	"add_note": {"case", "text"},
	"delete_file": {"path"},
	"edit_file": {"dryRun", "edits", "path"},
	"get_case": {"case"},
	"list_directory": {"path"},
	"query_database": {"sql"},
	"read_file": {"head", "path", "tail"},
	"search_cases": {"text"},
	"search_files": {"excludePatterns", "path", "pattern"},
	"write_file": {"content", "path"},
}

deny contains {"code": "argument_unknown", "message": "the tool is not called with this argument here"} if {
	input.server.name in {"crm", "files"}
	input.tool
	some name, _ in input.arguments
	not name in object.get(takes, input.tool.name, set())
}

# One statement, and one that reads, from tables and with functions that are listed. What `sql.parse` cannot read has
# `ok: false`. Functions matter: `select pg_read_file('/etc/passwd')` reads as well.
deny contains {"code": "sql_not_select", "message": "only one SELECT from the tables of the desk is allowed"} if {
	input.server.name == "crm"
	input.tool.name == "query_database"
	not reads_only
}

reads_only if {
	text := input.arguments.sql
	is_string(text)
	parsed := sql.parse(text, "postgres")
	parsed.ok
	parsed.operations == {"read"}
	not parsed.multiple
	not parsed.into
	count(parsed.tables - {"cases", "contacts"}) == 0
	count(parsed.functions - {"avg", "count", "lower", "max", "min", "sum", "upper"}) == 0
}

# No way out of the folder that was shared, and none to where secrets lie.
deny contains {"code": "path_unreadable", "message": "a path must be one text"} if {
	input.server.name == "files"
	some name in {"path", "pattern"}
	given := input.arguments[name]
	not is_string(given)
}

deny contains {"code": "path_missing", "message": "say which path"} if {
	input.server.name == "files"
	input.tool
	not input.arguments.path
}

deny contains {"code": "path_escapes", "message": "a path may not climb with `..`, nor begin at a home folder"} if {
	input.server.name == "files"
	some path in paths
	climbs(path)
}

deny contains {"code": "path_hidden", "message": "hidden files and folders are off limits"} if {
	input.server.name == "files"
	some path in paths
	some step in steps(path)
	startswith(step, ".")
	not step in {".", ".."}
}

climbs(path) if ".." in steps(path)

climbs(path) if startswith(path, "~")

# Some servers decode what they are given once more.
climbs(path) if regex.match(`(?i)%(2e|2f|5c|00)`, path)

climbs(path) if contains(path, "\u0000")

# Both kinds of slash part a path, and space around a step is lost on some systems.
steps(path) := [trim_space(step) | some step in split(replace(path, `\`, "/"), "/")]

paths contains path if {
	some name in {"path", "pattern"}
	path := input.arguments[name]
	is_string(path)
}

# --- Approval: what somebody has to agree to first ---

# A server's word may always raise the risk. Where it is silent, an unlisted tool is refused anyhow.
approve contains {"code": "destructive", "message": "the server calls this destructive", "quorum": 1, "ttl": "15m"} if {
	input.tool.annotations.destructiveHint == true
	"editor" in input.caller.roles
}
