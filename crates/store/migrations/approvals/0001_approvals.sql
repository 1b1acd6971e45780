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
-- The rest is partial where it can be: what has ended is a hundred times what is open, and is looked at by people only.
CREATE INDEX approvals_decisive ON approvals (tenant, digest, created_ms) WHERE state IN ('pending', 'approved', 'denied');
CREATE INDEX approvals_by_caller ON approvals (tenant, caller, created_ms);
CREATE INDEX approvals_pending_of_caller ON approvals (tenant, caller) WHERE state = 'pending';
CREATE INDEX approvals_by_state ON approvals (tenant, state, created_ms, id);
CREATE INDEX approvals_pending ON approvals (tenant, expires_ms) WHERE state = 'pending';
CREATE INDEX approvals_approved ON approvals (tenant, usable_until_ms) WHERE state = 'approved';
CREATE INDEX approvals_live ON approvals (tenant, id) WHERE state IN ('pending', 'approved');
CREATE INDEX approvals_unrecorded ON approvals (tenant, id)
    WHERE state IN ('pending', 'approved', 'denied') AND recorded & 3 <> CASE state WHEN 'pending' THEN 1 ELSE 3 END;
CREATE INDEX approvals_over ON approvals (tenant, coalesce(usable_until_ms, decided_ms, expires_ms), id)
    WHERE state NOT IN ('pending', 'approved');

-- Requests and their sealed bytes by state, kept by the triggers below: a limit counts no rows.
CREATE TABLE approval_totals (
    tenant TEXT NOT NULL,
    state TEXT NOT NULL,
    requests INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (tenant, state)
);

CREATE TABLE approval_decisions (
    tenant TEXT NOT NULL,
    approval TEXT NOT NULL,
    operator_id TEXT NOT NULL,
    operator TEXT NOT NULL,
    approves INTEGER NOT NULL,
    decided_ms INTEGER NOT NULL,
    shown TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (tenant, approval, operator_id)
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
CREATE INDEX approval_uses_open ON approval_uses (tenant, approval) WHERE state = 'consumed';
CREATE INDEX approval_uses_of_approval ON approval_uses (tenant, approval);

-- The key that seals: one is active, or is known to be lost.
CREATE TABLE approval_keys (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    id TEXT NOT NULL,
    is_lost INTEGER NOT NULL
);

CREATE TRIGGER approvals_added AFTER INSERT ON approvals BEGIN
    INSERT INTO approval_totals (tenant, state, requests, bytes) VALUES (NEW.tenant, NEW.state, 1, length(NEW.sealed))
        ON CONFLICT (tenant, state) DO UPDATE SET requests = requests + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER approvals_changed AFTER UPDATE OF state, sealed ON approvals BEGIN
    UPDATE approval_totals SET requests = requests - 1, bytes = bytes - length(OLD.sealed)
        WHERE tenant = OLD.tenant AND state = OLD.state;
    INSERT INTO approval_totals (tenant, state, requests, bytes) VALUES (NEW.tenant, NEW.state, 1, length(NEW.sealed))
        ON CONFLICT (tenant, state) DO UPDATE SET requests = requests + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER approvals_removed AFTER DELETE ON approvals BEGIN
    UPDATE approval_totals SET requests = requests - 1, bytes = bytes - length(OLD.sealed)
        WHERE tenant = OLD.tenant AND state = OLD.state;
    DELETE FROM approval_decisions WHERE tenant = OLD.tenant AND approval = OLD.id;
    DELETE FROM approval_uses WHERE tenant = OLD.tenant AND approval = OLD.id;
END;
