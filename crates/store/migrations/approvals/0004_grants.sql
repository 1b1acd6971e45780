-- A grant may begin later than its yes, and be bound to the session it was asked in: a number of the process, which no other has.
ALTER TABLE approvals ADD COLUMN not_before_ms INTEGER;
ALTER TABLE approvals ADD COLUMN session BLOB;
-- The same call of another session is another request, where the grant is bound to one.
DROP INDEX approvals_open;
CREATE UNIQUE INDEX approvals_open ON approvals (tenant, digest, coalesce(session, x'')) WHERE state = 'pending';
CREATE INDEX approvals_of_session ON approvals (tenant, session) WHERE session IS NOT NULL AND state IN ('pending', 'approved');
