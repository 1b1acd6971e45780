-- One row for each session that a restart may resume. What it needs is sealed by the gateway; the id is a digest of the session's.
CREATE TABLE sessions (
    id BLOB PRIMARY KEY NOT NULL,
    used_ms INTEGER NOT NULL,
    sealed BLOB NOT NULL
) WITHOUT ROWID;
