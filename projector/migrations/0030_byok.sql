-- The list price of a request with an own provider key.
ALTER TABLE generations ADD COLUMN byok_nanos BIGINT;
