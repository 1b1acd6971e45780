package mcp.authz_test

import data.mcp.decision.decision

call(tool, more) := object.union(
	{
		"phase": "call",
		"caller": {"roles": ["support"], "claims": {}},
		"server": {"name": "crm"},
		"tool": {"name": tool},
		"arguments": {"id": 7},
		"approval": {"present": false},
	},
	more,
)

session := {"session": {"id": "4f2a", "age_s": 60, "revision": "2025-11-25", "transport": "http"}}

signed_in := {"caller": {"roles": ["support"], "claims": {"sid": "s-1"}}}

with_grant(kind) := object.union(session, {
	"approval": {"present": true, "groups": ["support-leads"], "age_s": 5, "edited": false},
	"grant": {"kind": kind, "uses_left": 9, "until": "2026-12-01T10:00:00Z", "until_ns": 1796119200000000000},
})

cases := {
	"reading": {"call": call("search_cases", {}), "effect": "allow", "codes": set()},
	"a record in a session": {"call": call("open_record", session), "effect": "approve", "codes": {"customer_record"}},
	"a record after a sign-in": {"call": call("open_record", signed_in), "effect": "approve", "codes": {"customer_record"}},
	"a record without a session": {"call": call("open_record", {}), "effect": "deny", "codes": {"session_required"}},
	"a sign-in without a name": {
		"call": call("open_record", {"caller": {"roles": ["support"], "claims": {"sid": ""}}}),
		"effect": "deny", "codes": {"session_required"},
	},
	"a record in an old session": {
		"call": call("read_notes", {"session": {"id": "4f2a", "age_s": 3601}}),
		"effect": "deny", "codes": {"session_expired"},
	},
	"agreed to for the session": {"call": call("open_record", with_grant("session")), "effect": "approve", "codes": {"customer_record"}},
	"agreed to for more": {"call": call("open_record", with_grant("uses")), "effect": "deny", "codes": {"grant_too_wide"}},
}

test_cases[name] if {
	some name, case in cases
	decision.effect == case.effect with input as case.call
	codes(case.effect, case.call) == case.codes
}

codes(effect, document) := found if {
	effect != "allow"
	reasons := decision.reasons with input as document
	found := {reason.code | some reason in reasons}
} else := set()
