-- Requests for approval, the decisions on them and the uses made of them. Every key begins with the tenant. Times are
-- milliseconds of Unix time. What was asked for is sealed by the gateway, with the key named in key_id.
CREATE TABLE approvals (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    digest BLOB NOT NULL,
    caller BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('pending', 'approved', 'denied', 'expired', 'cancelled', 'consumed', 'revoked')),
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    decided_ms INTEGER,
    usable_until_ms INTEGER,
    uses_left INTEGER NOT NULL,
    cooldown_until_ms INTEGER,
    recorded INTEGER NOT NULL DEFAULT 0,
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
);
-- An identical request that is open is joined, never asked twice.
CREATE UNIQUE INDEX approvals_open ON approvals (tenant, digest) WHERE state = 'pending';
CREATE INDEX approvals_by_digest ON approvals (tenant, digest, state);
CREATE INDEX approvals_by_caller ON approvals (tenant, caller, created_ms);
CREATE INDEX approvals_by_state ON approvals (tenant, state, created_ms, id);

CREATE TABLE approval_decisions (
    tenant TEXT NOT NULL,
    approval TEXT NOT NULL,
    operator TEXT NOT NULL,
    approves INTEGER NOT NULL,
    decided_ms INTEGER NOT NULL,
    shown TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (tenant, approval, operator)
);

CREATE TABLE approval_uses (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    approval TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('consumed', 'released', 'returned', 'indeterminate')),
    decision_id TEXT NOT NULL,
    consumed_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX approval_uses_open ON approval_uses (tenant, state) WHERE state = 'consumed';
