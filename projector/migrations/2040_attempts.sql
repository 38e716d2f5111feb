-- The attempts of a request at providers, as JSON; an empty list for a request that has none or that was recorded before.
ALTER TABLE generations ADD COLUMN attempts TEXT NOT NULL DEFAULT '[]';
