-- What an operator decided about an event that was set aside, and whose account gets no new leases until then.
ALTER TABLE quarantine ADD COLUMN parks TEXT;
ALTER TABLE quarantine ADD COLUMN decision TEXT;
ALTER TABLE quarantine ADD COLUMN decided_at_us BIGINT;
CREATE INDEX quarantine_parks ON quarantine (parks) WHERE decision IS NULL;
