-- PostgreSQL only: the rows of one application, key or provider are found by these indexes; those of a model by the primary key. PostgreSQL
-- stores a value once for all of its rows, so the three take a tenth of the primary key's space. SQLite stores the whole key for each row:
-- an index would take as much as the table, and SQLite reads by the primary key all the same.
CREATE INDEX usage_mixes_of_app ON usage_mixes (account, width, app, start_us);
CREATE INDEX usage_mixes_of_key ON usage_mixes (account, width, key_hash, start_us);
CREATE INDEX usage_mixes_of_provider ON usage_mixes (account, width, provider, start_us);
