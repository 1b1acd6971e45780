package mcp.authz_test

import data.mcp.authz
import data.mcp.decision.decision

search(role, arguments) := {
	"phase": "call",
	"caller": {"roles": [role]},
	"server": {"name": "crm"},
	"tool": {"name": "search_cases"},
	"arguments": arguments,
}

# The limit each call is sent with; 0 where it is left alone.
pages := {
	"a small one": {"role": "support", "arguments": {"limit": 10}, "sent": 0},
	"a whole page": {"role": "support", "arguments": {"limit": 50}, "sent": 0},
	"too large": {"role": "support", "arguments": {"limit": 51}, "sent": 50},
	"none said": {"role": "support", "arguments": {"text": "x"}, "sent": 50},
	"an analyst's": {"role": "analyst", "arguments": {"limit": 200}, "sent": 0},
	"more than an analyst's": {"role": "analyst", "arguments": {"limit": 1000}, "sent": 200},
}

test_pages[name] if {
	some name, case in pages
	sent := [entry.value | some entry in set_by(search(case.role, case.arguments))]
	sent == [case.sent | case.sent > 0]
}

set_by(document) := found if found := authz.set_arguments with input as document

test_results_are_cut if {
	authz.max_records == {50} with input as search("support", {"limit": 10})
	authz.max_records == {200} with input as search("analyst", {"limit": 10})
	authz.max_bytes == {262144} with input as search("support", {})
}

test_exports_need_two if {
	export := object.union(search("analyst", {}), {"tool": {"name": "export_cases"}})
	decision.effect == "approve" with input as export
	decision.effect == "deny" with input as object.union(export, {"caller": {"roles": ["support"]}})
	authz.timeout == {"20s"} with input as export
	authz.audit == {{"level": "full"}} with input as export
}

test_a_flood_is_withheld if {
	answered := object.union(search("support", {}), {"phase": "response", "response": {"records": 501}})
	decision.effect == "deny" with input as answered
	decision.effect == "allow" with input as object.union(answered, {"response": {"records": 500}})
}
