-- Credit as it came in: what is left of each amount, which is burned first, and when the rest expires. Together: the balance.
CREATE TABLE grants (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    priority BIGINT NOT NULL,
    expires_at_us BIGINT,
    created_at_us BIGINT NOT NULL,
    amount_nanos BIGINT NOT NULL,
    remaining_nanos BIGINT NOT NULL,
    CONSTRAINT grants_not_overdrawn CHECK (remaining_nanos >= 0 AND remaining_nanos <= amount_nanos)
);
CREATE INDEX grants_left ON grants (account) WHERE remaining_nanos > 0;
CREATE INDEX grants_by_expiry ON grants (expires_at_us) WHERE remaining_nanos > 0;

-- What was there before grants were told apart.
INSERT INTO grants (id, account, kind, priority, expires_at_us, created_at_us, amount_nanos, remaining_nanos)
SELECT 'opening/' || id, id, 'grant', 100, NULL, created_at_us, available_nanos + held_nanos, available_nanos + held_nanos
FROM accounts WHERE available_nanos + held_nanos > 0;

-- For the balance at a time, and for listings from a time on.
CREATE INDEX transactions_by_time ON transactions (account, created_at_us);
