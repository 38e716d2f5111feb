-- SQLite only: the rows of sums stand in one tree, by their keys, instead of a tree of rows and a tree of keys.

ALTER TABLE usage_counted RENAME TO usage_counted_before;
CREATE TABLE usage_counted (
    admitted_at_us BIGINT NOT NULL,
    request TEXT NOT NULL,
    is_kept BIGINT NOT NULL,
    PRIMARY KEY (admitted_at_us, request)
) WITHOUT ROWID;
INSERT INTO usage_counted SELECT * FROM usage_counted_before;
DROP TABLE usage_counted_before;

ALTER TABLE usage_sums RENAME TO usage_sums_before;
CREATE TABLE usage_sums (
    account TEXT NOT NULL,
    width BIGINT NOT NULL,
    dimension BIGINT NOT NULL,
    start_us BIGINT NOT NULL,
    value TEXT COLLATE BYTES NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    spend_nanos BIGINT NOT NULL,
    byok_estimate_nanos BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    PRIMARY KEY (account, width, dimension, start_us, value)
) WITHOUT ROWID;
INSERT INTO usage_sums SELECT * FROM usage_sums_before;
DROP TABLE usage_sums_before;

ALTER TABLE usage_mixes RENAME TO usage_mixes_before;
CREATE TABLE usage_mixes (
    account TEXT NOT NULL,
    width BIGINT NOT NULL,
    start_us BIGINT NOT NULL,
    model TEXT COLLATE BYTES NOT NULL,
    provider TEXT COLLATE BYTES NOT NULL,
    key_hash TEXT COLLATE BYTES NOT NULL,
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
    PRIMARY KEY (account, width, start_us, model, provider, key_hash, app)
) WITHOUT ROWID;
INSERT INTO usage_mixes SELECT * FROM usage_mixes_before;
DROP TABLE usage_mixes_before;

ALTER TABLE usage_details RENAME TO usage_details_before;
CREATE TABLE usage_details (
    account TEXT NOT NULL,
    width BIGINT NOT NULL,
    start_us BIGINT NOT NULL,
    end_user TEXT COLLATE BYTES NOT NULL,
    model TEXT COLLATE BYTES NOT NULL,
    provider TEXT COLLATE BYTES NOT NULL,
    key_hash TEXT COLLATE BYTES NOT NULL,
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
    PRIMARY KEY (account, width, start_us, end_user, model, provider, key_hash, app)
) WITHOUT ROWID;
INSERT INTO usage_details SELECT * FROM usage_details_before;
DROP TABLE usage_details_before;

ALTER TABLE usage_latencies RENAME TO usage_latencies_before;
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
) WITHOUT ROWID;
INSERT INTO usage_latencies SELECT * FROM usage_latencies_before;
DROP TABLE usage_latencies_before;
