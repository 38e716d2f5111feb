-- The requests with own provider keys, by account and UTC month.
CREATE TABLE byok_months (
    account TEXT NOT NULL,
    starts_at_us BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (account, starts_at_us)
);

-- The part of the spending that does not count towards the limit, and the list price of requests with own provider keys. A window may also be
-- that of a provider key.
ALTER TABLE key_windows ADD COLUMN exempt_nanos BIGINT NOT NULL DEFAULT 0;
ALTER TABLE key_windows ADD COLUMN byok_nanos BIGINT NOT NULL DEFAULT 0;

-- The list price of a request with an own provider key.
ALTER TABLE transactions ADD COLUMN byok_nanos BIGINT;
