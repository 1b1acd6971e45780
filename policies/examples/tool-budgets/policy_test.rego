package mcp.authz_test

import data.mcp.authz
import data.mcp.decision.decision

call(tool, before, records, denials) := {
	"phase": "call",
	"server": {"name": "crm"},
	"tool": {"name": tool},
	"arguments": {},
	"history": {"calls_by_tool": {tool: before}, "hour": {"records_out": records, "denials": denials}},
}

cases := {
	"the first": {"input": call("export_cases", 0, 0, 0), "codes": set()},
	"the third": {"input": call("export_cases", 2, 0, 0), "codes": set()},
	"the fourth": {"input": call("export_cases", 3, 0, 0), "codes": {"budget_spent"}},
	"the fourth search": {"input": call("search_cases", 3, 0, 0), "codes": set()},
	"too many records": {"input": call("search_cases", 3, 5000, 0), "codes": {"too_much_out"}},
	"too many refusals": {"input": call("search_cases", 3, 4999, 20), "codes": {"probing"}},
	"no budget": {"input": call("other", 0, 0, 0), "codes": {"no_rule"}},
}

test_cases[name] if {
	some name, case in cases
	case.codes == denied(case.input)
}

denied(document) := codes if {
	decision.effect == "deny" with input as document
	reasons := decision.reasons with input as document
	codes := {reason.code | some reason in reasons}
} else := set()

test_exports_count_against_a_rate if {
	authz.limit == {{"name": "export_cases", "rate": "10/1h", "by": "caller"}} with input as call("export_cases", 0, 0, 0)
	authz.limit == set() with input as call("search_cases", 0, 0, 0)
}
