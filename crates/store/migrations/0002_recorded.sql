-- The acts of a kill that are in the audit log: 1 its setting, 2 its end. A start looks for the others there.
ALTER TABLE kills ADD COLUMN recorded INTEGER NOT NULL DEFAULT 0;
