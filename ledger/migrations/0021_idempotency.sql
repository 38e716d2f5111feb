-- The idempotency keys of model requests within the last 24 hours.
CREATE TABLE idempotency_keys (
    id TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    request TEXT NOT NULL,
    claimed_at_us BIGINT NOT NULL
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (claimed_at_us);
