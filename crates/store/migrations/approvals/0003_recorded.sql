-- Each decision, end and use without a known outcome has what its record says, and whether it is in the audit log: what the log did
-- not take at once is written later, as it was.
ALTER TABLE approval_decisions ADD COLUMN state TEXT;
ALTER TABLE approval_decisions ADD COLUMN recorded INTEGER NOT NULL DEFAULT 0;
UPDATE approval_decisions SET recorded = 1 WHERE EXISTS (SELECT 1 FROM approvals AS its
    WHERE its.tenant = approval_decisions.tenant AND its.id = approval_decisions.approval AND its.recorded & 2 <> 0);
CREATE INDEX approval_decisions_unrecorded ON approval_decisions (tenant, approval) WHERE recorded = 0;

ALTER TABLE approvals ADD COLUMN ended_ms INTEGER;
ALTER TABLE approvals ADD COLUMN ended_by TEXT;
ALTER TABLE approvals ADD COLUMN end_code TEXT;
ALTER TABLE approvals ADD COLUMN end_message TEXT;
DROP INDEX approvals_unrecorded;
CREATE INDEX approvals_unrecorded ON approvals (tenant, id)
    WHERE recorded & 1 = 0 OR (state IN ('expired', 'cancelled', 'revoked') AND recorded & 4 = 0);

ALTER TABLE approval_uses ADD COLUMN doubt TEXT;
ALTER TABLE approval_uses ADD COLUMN recorded INTEGER NOT NULL DEFAULT 0;
UPDATE approval_uses SET recorded = 1 WHERE state = 'indeterminate';
CREATE INDEX approval_uses_unrecorded ON approval_uses (tenant, approval) WHERE state = 'indeterminate' AND recorded = 0;

-- Bytes of each caller: what one asks for takes no room of another. Kept by triggers, as the totals are.
CREATE TABLE approval_shares (
    tenant TEXT NOT NULL,
    caller BLOB NOT NULL,
    pending_bytes INTEGER NOT NULL,
    ended_bytes INTEGER NOT NULL,
    PRIMARY KEY (tenant, caller)
);
CREATE INDEX approval_shares_ended ON approval_shares (tenant, ended_bytes) WHERE ended_bytes > 0;
CREATE INDEX approvals_over_of_caller ON approvals (tenant, caller, coalesce(usable_until_ms, decided_ms, expires_ms), id)
    WHERE state NOT IN ('pending', 'approved');
INSERT INTO approval_shares (tenant, caller, pending_bytes, ended_bytes)
    SELECT tenant, caller, sum(CASE state WHEN 'pending' THEN length(sealed) ELSE 0 END),
        sum(CASE WHEN state IN ('pending', 'approved') THEN 0 ELSE length(sealed) END)
    FROM approvals GROUP BY tenant, caller;

CREATE TRIGGER approvals_share_added AFTER INSERT ON approvals BEGIN
    INSERT INTO approval_shares (tenant, caller, pending_bytes, ended_bytes) VALUES (NEW.tenant, NEW.caller,
        CASE NEW.state WHEN 'pending' THEN length(NEW.sealed) ELSE 0 END,
        CASE WHEN NEW.state IN ('pending', 'approved') THEN 0 ELSE length(NEW.sealed) END)
        ON CONFLICT (tenant, caller) DO UPDATE SET
            pending_bytes = pending_bytes + excluded.pending_bytes, ended_bytes = ended_bytes + excluded.ended_bytes;
END;
CREATE TRIGGER approvals_share_changed AFTER UPDATE OF state, caller, sealed ON approvals BEGIN
    UPDATE approval_shares SET
        pending_bytes = pending_bytes - CASE OLD.state WHEN 'pending' THEN length(OLD.sealed) ELSE 0 END,
        ended_bytes = ended_bytes - CASE WHEN OLD.state IN ('pending', 'approved') THEN 0 ELSE length(OLD.sealed) END
        WHERE tenant = OLD.tenant AND caller = OLD.caller;
    INSERT INTO approval_shares (tenant, caller, pending_bytes, ended_bytes) VALUES (NEW.tenant, NEW.caller,
        CASE NEW.state WHEN 'pending' THEN length(NEW.sealed) ELSE 0 END,
        CASE WHEN NEW.state IN ('pending', 'approved') THEN 0 ELSE length(NEW.sealed) END)
        ON CONFLICT (tenant, caller) DO UPDATE SET
            pending_bytes = pending_bytes + excluded.pending_bytes, ended_bytes = ended_bytes + excluded.ended_bytes;
    DELETE FROM approval_shares WHERE tenant = OLD.tenant AND caller = OLD.caller AND pending_bytes = 0 AND ended_bytes = 0;
END;
CREATE TRIGGER approvals_share_removed AFTER DELETE ON approvals BEGIN
    UPDATE approval_shares SET
        pending_bytes = pending_bytes - CASE OLD.state WHEN 'pending' THEN length(OLD.sealed) ELSE 0 END,
        ended_bytes = ended_bytes - CASE WHEN OLD.state IN ('pending', 'approved') THEN 0 ELSE length(OLD.sealed) END
        WHERE tenant = OLD.tenant AND caller = OLD.caller;
    DELETE FROM approval_shares WHERE tenant = OLD.tenant AND caller = OLD.caller AND pending_bytes = 0 AND ended_bytes = 0;
END;
