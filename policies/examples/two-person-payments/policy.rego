# Payments by two people: small ones to known recipients go on, others need the team's lead, large ones treasury after that.
package mcp.authz

paying if {
	input.tool.name == "send_payment"
	"payments" in input.caller.groups
}

allow contains "payments team" if paying

# A text or a missing amount compares in odd ways: only a number above zero is a payment.
deny contains {"code": "amount", "message": "an amount is a number above zero"} if {
	input.phase == "call"
	input.tool.name == "send_payment"
	not valid_amount
}

valid_amount if {
	is_number(input.arguments.amount)
	input.arguments.amount > 0
}

known_recipient if input.arguments.recipient in data.recipients

# Fails closed: an amount that is missing is not below anything.
small if {
	input.arguments.amount < data.payments.free_below
	known_recipient
}

approve contains {
	"code": "lead",
	"message": "a payment needs the team's lead",
	"approvers": ["group:payment-leads"],
	"ttl": "1h",
} if {
	input.phase == "call"
	paying
	not small
}

# Treasury looks at what the lead has agreed to, never the other way round.
approve contains {
	"code": "treasury",
	"message": "a large payment needs treasury",
	"approvers": ["group:treasury"],
	"step": 2,
	"ttl": "4h",
} if {
	input.phase == "call"
	paying
	input.arguments.amount >= data.payments.treasury_from
}

# Somebody new gets money once a second lead has looked.
approve contains {
	"code": "new_recipient",
	"message": "nobody has paid this recipient before",
	"approvers": ["group:payment-leads"],
	"quorum": 2,
	"ttl": "1h",
} if {
	input.phase == "call"
	paying
	not known_recipient
}
