# Guardrails under which others write their own policies: this layer refuses, and allows the rest.
#
# Every layer must allow a call. Put this into `policies`, and each tenant's own into `tenants.<name>.policies`: a tenant
# can be stricter than this and never wider.
package mcp.authz

# On purpose without a condition: the layers below decide. `policy check` reminds you of it.
allow contains "the platform has nothing against it"

deny contains {"code": "destructive", "message": "nothing that the server itself calls destructive"} if {
	input.tool.annotations.destructiveHint == true
	not "operator" in input.caller.roles
}

deny contains {"code": "model_borrowed", "message": "servers may not use the client's model"} if {
	input.method == "sampling/createMessage"
}

# What looks like a secret never leaves.
redact contains {"pattern": pattern} if {
	some pattern in ["aws_access_key", "private_key", "jwt"]
}

limit contains {"name": "platform", "rate": "600/1m", "by": "caller"}

max_bytes contains 1048576
