-- Notifications of a request: a row for each target of it, until there is nothing more to send. sent is the last event it has got:
-- 1 requested, 2 reminder, 3 decided.
CREATE TABLE approval_notices (
    tenant TEXT NOT NULL,
    target TEXT NOT NULL,
    approval TEXT NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, target, approval)
);
CREATE INDEX approval_notices_of_approval ON approval_notices (tenant, approval);
CREATE TRIGGER approval_notices_removed AFTER DELETE ON approvals BEGIN
    DELETE FROM approval_notices WHERE tenant = OLD.tenant AND approval = OLD.id;
END;
