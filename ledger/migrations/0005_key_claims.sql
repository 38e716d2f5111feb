-- The newest revision of a key that a gateway may record: of two changes made of the same state only one is granted it.
CREATE TABLE key_claims (
    hash TEXT PRIMARY KEY,
    revision BIGINT NOT NULL,
    claimed_at_us BIGINT NOT NULL
);

-- The key that facts are signed with: every ledger of one database must have it.
CREATE TABLE signing (
    one BIGINT PRIMARY KEY,
    key_id TEXT NOT NULL
);

-- What `/readyz` writes, to know that the database takes writes.
CREATE TABLE probes (
    one BIGINT PRIMARY KEY,
    probed_at_us BIGINT NOT NULL
);
