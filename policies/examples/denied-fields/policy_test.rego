package mcp.authz_test

import data.mcp.authz
import data.mcp.decision.decision

call(tool, role, arguments) := {
	"phase": "call",
	"caller": {"roles": [role]},
	"server": {"name": "crm"},
	"tool": {"name": tool},
	"arguments": arguments,
}

cases := {
	"good fields": {"call": ["get_record", {"fields": ["Name", "Phone"]}], "codes": set()},
	"a denied field": {"call": ["get_record", {"fields": ["Name", "SSN__c"]}], "codes": {"field_denied"}},
	"in other letters": {"call": ["get_record", {"fields": ["ssn__C"]}], "codes": {"field_denied"}},
	"no list": {"call": ["get_record", {}], "codes": set()},
	"a good query": {"call": ["query", {"query": "SELECT Name FROM Account"}], "codes": set()},
	"a denied field in a query": {"call": ["query", {"query": "SELECT SSN__c FROM Account"}], "codes": {"field_denied"}},
	"to sort by": {"call": ["query", {"query": "SELECT Name FROM Account ORDER BY Salary__c"}], "codes": {"field_denied"}},
	"to filter by": {"call": ["query", {"query": "SELECT Name FROM Account WHERE Salary__c > 9"}], "codes": {"field_denied"}},
	"of a parent": {"call": ["query", {"query": "SELECT Owner.Salary__c FROM Account"}], "codes": {"field_denied"}},
	"all there are": {"call": ["query", {"query": "SELECT FIELDS(ALL) FROM Account LIMIT 9"}], "codes": {"fields_unnamed"}},
	"no query": {"call": ["query", {"query": "everything"}], "codes": {"query_unread"}},
	"no text": {"call": ["query", {"query": 5}], "codes": {"query_unread"}},
}

test_requests[name] if {
	some name, case in cases
	[tool, arguments] := case.call
	case.codes == refused(call(tool, "support", arguments))
}

refused(document) := codes if {
	decision.effect == "deny" with input as document
	reasons := decision.reasons with input as document
	codes := {reason.code | some reason in reasons}
} else := set()

patterns := {{"pattern": "card"}, {"pattern": "ssn"}}

test_results_lose_the_fields if {
	support := call("get_record", "support", {})
	authz.redact == patterns | {{"field": "ssn__c", "remove": true}, {"field": "salary__c", "remove": true}} with input as support
}

test_auditors_see_that_they_are_there if {
	auditor := call("get_record", "auditor", {})
	authz.redact == patterns | {{"field": "ssn__c"}, {"field": "salary__c"}} with input as auditor
}
