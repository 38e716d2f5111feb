-- Plain names: an event that is set aside freezes its account; members send heartbeats.
DROP INDEX quarantine_parks;
ALTER TABLE quarantine RENAME COLUMN parks TO freezes_account;
CREATE INDEX quarantine_frozen ON quarantine (freezes_account) WHERE decision IS NULL;
ALTER TABLE members RENAME COLUMN beat TO heartbeat;
