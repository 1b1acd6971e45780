package mcp.decision_test

import data.mcp.decision.decision
import data.mcp.decision.shown

test_nothing_is_a_refusal if {
	decision == {"effect": "deny", "reasons": {{"code": "no_rule", "message": "no rule allows this"}}} with data.mcp.authz.allow as set()
		with data.mcp.authz.deny as set()
		with data.mcp.authz.approve as set()
}

test_allow if {
	decision == {"effect": "allow", "reasons": {"a"}} with data.mcp.authz.allow as {"a"}
		with data.mcp.authz.deny as set()
		with data.mcp.authz.approve as set()
}

test_approve_beats_allow if {
	decision.effect == "approve" with data.mcp.authz.allow as {"a"}
		with data.mcp.authz.deny as set()
		with data.mcp.authz.approve as {"b"}
}

test_deny_beats_all if {
	decision == {"effect": "deny", "reasons": {"c"}} with data.mcp.authz.allow as {"a"}
		with data.mcp.authz.deny as {"c"}
		with data.mcp.authz.approve as {"b"}
}

test_hidden_by_default if {
	not shown with data.mcp.authz.allow as set()
		with data.mcp.authz.deny as set()
		with data.mcp.authz.approve as set()
		with data.mcp.authz.visible as set()
}

test_visible_shows if {
	shown with data.mcp.authz.allow as set()
		with data.mcp.authz.deny as set()
		with data.mcp.authz.approve as set()
		with data.mcp.authz.visible as {"v"}
}

test_deny_hides if {
	not shown with data.mcp.authz.allow as {"a"}
		with data.mcp.authz.deny as {"d"}
		with data.mcp.authz.approve as set()
		with data.mcp.authz.visible as {"v"}
}

test_a_missing_scope_hides_nothing_from_who_can_ask_for_it if {
	shown with data.mcp.authz.allow as {"a"}
		with data.mcp.authz.deny as {{"code": "scope", "scopes": ["crm:write"]}}
		with data.mcp.authz.approve as set()
		with data.mcp.authz.visible as set()
		with input as {"caller": {"iss": "https://idp.example"}}
}

test_a_missing_scope_hides_from_the_others if {
	not shown with data.mcp.authz.allow as {"a"}
		with data.mcp.authz.deny as {{"code": "scope", "scopes": ["crm:write"]}}
		with data.mcp.authz.approve as set()
		with data.mcp.authz.visible as set()
		with input as {"caller": {"iss": ""}}
}

test_a_denial_beside_a_missing_scope_hides if {
	not shown with data.mcp.authz.allow as {"a"}
		with data.mcp.authz.deny as {{"code": "scope", "scopes": ["crm:write"]}, {"code": "other"}}
		with data.mcp.authz.approve as set()
		with data.mcp.authz.visible as set()
		with input as {"caller": {"iss": "https://idp.example"}}
}
