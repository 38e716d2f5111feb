-- The endpoints that a request left out, as JSON; an empty list for a request that has none or that was recorded before.
ALTER TABLE generations ADD COLUMN skipped TEXT NOT NULL DEFAULT '[]';
