-- Rows are found, and old ones deleted, by their keys; those of a user by the day. SQLite has dropped these indexes with their tables already.
DROP INDEX IF EXISTS usage_details_of_user;
DROP INDEX IF EXISTS usage_details_minutes;
DROP INDEX IF EXISTS usage_sums_minutes;
DROP INDEX IF EXISTS usage_latencies_hours;
INSERT INTO usage_details (account, width, start_us, end_user, model, provider, key_hash, app, requests, errors, spend_nanos, byok_estimate_nanos, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cache_write_tokens)
SELECT account, 2, start_us - start_us % 86400000000, end_user, model, provider, key_hash, app,
    CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT), CAST(SUM(spend_nanos) AS BIGINT), CAST(SUM(byok_estimate_nanos) AS BIGINT), CAST(SUM(prompt_tokens) AS BIGINT), CAST(SUM(completion_tokens) AS BIGINT), CAST(SUM(reasoning_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT), CAST(SUM(cache_write_tokens) AS BIGINT)
FROM usage_details WHERE width = 1
GROUP BY account, start_us - start_us % 86400000000, end_user, model, provider, key_hash, app;
