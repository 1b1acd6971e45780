-- Everything that was ever cut off. Rows are added and closed, never changed otherwise. Times are RFC 3339, UTC.
CREATE TABLE kills (
    id TEXT NOT NULL PRIMARY KEY,
    scope TEXT NOT NULL,
    target TEXT,
    tenant TEXT,
    reason TEXT NOT NULL,
    set_by TEXT NOT NULL,
    set_at TEXT NOT NULL,
    expires_at TEXT,
    cleared_at TEXT,
    cleared_by TEXT,
    cleared_reason TEXT
) STRICT;
