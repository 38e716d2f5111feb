-- Sums by two dimensions: days and months. `pair` is ten times the number of the first dimension in `usage_sums`, and that of the second.
-- Model and key have no rows here: `usage_mixes` has about as many. Nor has a user in a minute or hour sums of its own: `usage_details` has.
DELETE FROM usage_sums WHERE dimension = 4 AND width IN (0, 1);

CREATE TABLE usage_pairs (
    account TEXT NOT NULL,
    width BIGINT NOT NULL,
    pair BIGINT NOT NULL,
    start_us BIGINT NOT NULL,
    first TEXT COLLATE BYTES NOT NULL,
    second TEXT COLLATE BYTES NOT NULL,
    requests BIGINT NOT NULL,
    errors BIGINT NOT NULL,
    spend_nanos BIGINT NOT NULL,
    byok_estimate_nanos BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    PRIMARY KEY (account, width, pair, start_us, first, second)
) WITHOUT ROWID;

INSERT INTO usage_pairs (account, width, pair, start_us, first, second, requests, errors, spend_nanos, byok_estimate_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cache_write_tokens)
SELECT account, width, 12, start_us, model, provider, CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT), CAST(SUM(spend_nanos) AS BIGINT), CAST(SUM(byok_estimate_nanos) AS BIGINT), CAST(SUM(prompt_tokens) AS BIGINT), CAST(SUM(completion_tokens) AS BIGINT), CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT), CAST(SUM(cache_write_tokens) AS BIGINT)
FROM usage_mixes GROUP BY account, width, start_us, model, provider;
INSERT INTO usage_pairs (account, width, pair, start_us, first, second, requests, errors, spend_nanos, byok_estimate_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cache_write_tokens)
SELECT account, width, 15, start_us, model, app, CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT), CAST(SUM(spend_nanos) AS BIGINT), CAST(SUM(byok_estimate_nanos) AS BIGINT), CAST(SUM(prompt_tokens) AS BIGINT), CAST(SUM(completion_tokens) AS BIGINT), CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT), CAST(SUM(cache_write_tokens) AS BIGINT)
FROM usage_mixes GROUP BY account, width, start_us, model, app;
INSERT INTO usage_pairs (account, width, pair, start_us, first, second, requests, errors, spend_nanos, byok_estimate_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cache_write_tokens)
SELECT account, width, 25, start_us, provider, app, CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT), CAST(SUM(spend_nanos) AS BIGINT), CAST(SUM(byok_estimate_nanos) AS BIGINT), CAST(SUM(prompt_tokens) AS BIGINT), CAST(SUM(completion_tokens) AS BIGINT), CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT), CAST(SUM(cache_write_tokens) AS BIGINT)
FROM usage_mixes GROUP BY account, width, start_us, provider, app;
INSERT INTO usage_pairs (account, width, pair, start_us, first, second, requests, errors, spend_nanos, byok_estimate_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cache_write_tokens)
SELECT account, width, 23, start_us, provider, key_hash, CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT), CAST(SUM(spend_nanos) AS BIGINT), CAST(SUM(byok_estimate_nanos) AS BIGINT), CAST(SUM(prompt_tokens) AS BIGINT), CAST(SUM(completion_tokens) AS BIGINT), CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT), CAST(SUM(cache_write_tokens) AS BIGINT)
FROM usage_mixes GROUP BY account, width, start_us, provider, key_hash;
INSERT INTO usage_pairs (account, width, pair, start_us, first, second, requests, errors, spend_nanos, byok_estimate_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cache_write_tokens)
SELECT account, width, 53, start_us, app, key_hash, CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT), CAST(SUM(spend_nanos) AS BIGINT), CAST(SUM(byok_estimate_nanos) AS BIGINT), CAST(SUM(prompt_tokens) AS BIGINT), CAST(SUM(completion_tokens) AS BIGINT), CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT), CAST(SUM(cache_write_tokens) AS BIGINT)
FROM usage_mixes GROUP BY account, width, start_us, app, key_hash;
