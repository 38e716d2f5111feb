-- SQLite only: the key of a model's row comes before the provider, so that the sums by model and key stand in their order, and rows of a
-- key are found by each model. 2048 does so on PostgreSQL.
ALTER TABLE usage_mixes RENAME TO usage_mixes_before;
CREATE TABLE usage_mixes (
    account TEXT NOT NULL,
    width BIGINT NOT NULL,
    start_us BIGINT NOT NULL,
    model TEXT COLLATE BYTES NOT NULL,
    key_hash TEXT COLLATE BYTES NOT NULL,
    provider TEXT COLLATE BYTES NOT NULL,
    app TEXT COLLATE BYTES NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    spend_nanos BIGINT NOT NULL,
    byok_estimate_nanos BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    PRIMARY KEY (account, width, start_us, model, key_hash, provider, app)
) WITHOUT ROWID;
INSERT INTO usage_mixes SELECT account, width, start_us, model, key_hash, provider, app, requests, errors, spend_nanos, byok_estimate_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cache_write_tokens FROM usage_mixes_before;
DROP TABLE usage_mixes_before;
