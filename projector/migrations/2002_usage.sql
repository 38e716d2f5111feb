-- Requests are kept for 90 days, and deleted by their age.
CREATE INDEX generations_by_age ON generations (admitted_at_us);
CREATE INDEX generations_by_user ON generations (account, end_user, admitted_at_us);

-- The requests that the sums contain. A gateway and a ledger may both record a charge of one request; it counts once.
CREATE TABLE usage_counted (
    admitted_at_us BIGINT NOT NULL,
    request TEXT NOT NULL,
    -- 1 for a charge that a ledger recorded: the gateway may record its own at any time later.
    is_kept BIGINT NOT NULL,
    PRIMARY KEY (admitted_at_us, request)
);

-- Sums by one dimension. `width` is 0 minute, 1 hour, 2 day, 3 month; `dimension` is 0 all, 1 model, 2 provider, 3 key, 4 user, 5 app.
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
);
CREATE INDEX usage_sums_minutes ON usage_sums (start_us) WHERE width = 0;

-- Sums by all dimensions but the user: days and months.
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
);

-- Sums by all dimensions: minutes and hours.
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
);
CREATE INDEX usage_details_of_user ON usage_details (account, end_user, width, start_us);
CREATE INDEX usage_details_minutes ON usage_details (start_us) WHERE width = 0;

-- End users whose names are replaced by a token, in the rows above and in those to come.
CREATE TABLE erased_users (
    account TEXT NOT NULL,
    user_hash TEXT NOT NULL,
    token TEXT NOT NULL,
    PRIMARY KEY (account, user_hash)
);
