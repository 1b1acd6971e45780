-- Time at which the call of a use went to its server. Until then the use can be taken back, from then on it counts as made.
ALTER TABLE approval_uses ADD COLUMN sent_ms INTEGER;
