package mcp.authz_test

import data.mcp.authz
import data.mcp.decision.decision

call(amount, recipient, groups) := {
	"phase": "call",
	"caller": {"groups": groups},
	"server": {"name": "bank"},
	"tool": {"name": "send_payment"},
	"arguments": {"amount": amount, "recipient": recipient},
}

cases := {
	"small, to a known recipient": {"call": [99, "ACME-001", ["payments"]], "effect": "allow", "codes": set()},
	"at the limit": {"call": [100, "ACME-001", ["payments"]], "effect": "approve", "codes": {"lead"}},
	"large": {"call": [10000, "ACME-002", ["payments"]], "effect": "approve", "codes": {"lead", "treasury"}},
	"small, to somebody new": {"call": [1, "EVIL-666", ["payments"]], "effect": "approve", "codes": {"lead", "new_recipient"}},
	"large, to somebody new": {"call": [99999, "EVIL-666", ["payments"]], "effect": "approve", "codes": {"lead", "new_recipient", "treasury"}},
	"nothing": {"call": [0, "ACME-001", ["payments"]], "effect": "deny", "codes": {"amount"}},
	"less than nothing": {"call": [-5, "ACME-001", ["payments"]], "effect": "deny", "codes": {"amount"}},
	"an amount in words": {"call": ["99", "ACME-001", ["payments"]], "effect": "deny", "codes": {"amount"}},
	"of another team": {"call": [99, "ACME-001", ["sales"]], "effect": "deny", "codes": {"no_rule"}},
}

test_cases[name] if {
	some name, case in cases
	[amount, recipient, groups] := case.call
	decision.effect == case.effect with input as call(amount, recipient, groups)
	codes(case.effect, call(amount, recipient, groups)) == case.codes
}

codes(effect, document) := asked if {
	effect != "allow"
	reasons := decision.reasons with input as document
	asked := {reason.code | some reason in reasons}
} else := set()

test_treasury_comes_after_the_lead if {
	asked := authz.approve with input as call(10000, "ACME-001", ["payments"])
	{[entry.code, object.get(entry, "step", 1)] | some entry in asked} == {["lead", 1], ["treasury", 2]}
}
