package mcp.authz_test

import data.mcp.authz
import data.mcp.decision.decision

call(tool, groups) := {
	"phase": "call",
	"caller": {"groups": groups},
	"server": {"name": "deployments"},
	"tool": {"name": tool},
	"arguments": {"service": "crm"},
	"approval": {"present": false},
}

approved(age_s) := object.union(call("deploy", ["operations"]), {
	"approval": {"present": true, "groups": ["service-owners"], "age_s": age_s, "edited": false},
	"grant": {"kind": "window", "uses_left": 1, "until": "2026-12-02T01:00:00Z", "until_ns": 1796173200000000000},
})

cases := {
	"reading": {"call": call("get_deployment", []), "effect": "allow"},
	"a change": {"call": call("deploy", ["operations"]), "effect": "approve"},
	"a change of another team": {"call": call("deploy", ["sales"]), "effect": "deny"},
	"a change that was agreed to": {"call": approved(3600), "effect": "approve"},
	"a change that was agreed to yesterday": {"call": approved(43201), "effect": "deny"},
}

test_cases[name] if {
	some name, case in cases
	decision.effect == case.effect with input as case.call
}

test_a_freeze_stops_what_was_agreed_to if {
	reasons := decision.reasons with input as approved(60) with data.frozen as true
	{reason.code | some reason in reasons} == {"freeze"}
}

test_the_yes_is_for_the_window if {
	asked := authz.approve with input as call("restart", ["operations"])
	some entry in asked
	entry.grant == {"kind": "window", "not_before": "22:00", "until": "02:00", "timezone": "Europe/Berlin"}
}
