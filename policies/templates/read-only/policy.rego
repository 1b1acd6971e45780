# Everyone may look, nobody may change anything.
package mcp.authz

# Tools that only read, by server. A server's own word for it counts where the configuration trusts it.
allow contains "reads" if input.tool.name in data.reading[input.server.name]

allow contains "the server says it reads, and is trusted" if {
	input.tool.annotations_trusted
	input.tool.annotations.readOnlyHint == true
}

allow contains "documents" if input.resource.scheme == "file"

allow contains "prompts" if input.prompt
