-- Endpoints of accounts; the newest state wins. A deleted one keeps its row, without its content.
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    revision BIGINT NOT NULL,
    changed_at_us BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    content TEXT NOT NULL
);

-- Endpoints that were given up, by the revision that failed.
CREATE TABLE webhook_failures (
    webhook TEXT PRIMARY KEY,
    revision BIGINT NOT NULL,
    reason TEXT NOT NULL
);

-- One row a matching endpoint and event.
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    webhook TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    event_time_us BIGINT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at_us BIGINT NOT NULL,
    attempted_at_us BIGINT,
    status BIGINT,
    error TEXT
);
CREATE INDEX deliveries_due ON deliveries (webhook, next_at_us) WHERE state = 'pending';
CREATE INDEX deliveries_by_time ON deliveries (webhook, event_time_us);

-- Events from before this time make no deliveries, so that a rebuild sends no old ones.
CREATE TABLE delivery_floor (
    one BIGINT PRIMARY KEY,
    since_us BIGINT NOT NULL
);
