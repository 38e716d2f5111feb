-- Histograms of times by model and provider: hours, days and months. `width` is as in `usage_sums`; `kind` is 0 for the whole time of a
-- request, 1 for the time to its first piece. Requests that were counted before this table existed are missing until a rebuild.
CREATE TABLE usage_latencies (
    account TEXT NOT NULL,
    width BIGINT NOT NULL,
    start_us BIGINT NOT NULL,
    model TEXT COLLATE BYTES NOT NULL,
    provider TEXT COLLATE BYTES NOT NULL,
    kind BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (account, width, start_us, model, provider, kind, bucket)
);
CREATE INDEX usage_latencies_hours ON usage_latencies (start_us) WHERE width = 1;
