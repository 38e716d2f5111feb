-- One row a request that was sent to a provider.
CREATE TABLE generations (
    request TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    end_user TEXT NOT NULL,
    app TEXT NOT NULL,
    outcome TEXT NOT NULL,
    finish_reason TEXT,
    status BIGINT,
    streamed BIGINT NOT NULL,
    admitted_at_us BIGINT NOT NULL,
    latency_us BIGINT NOT NULL,
    ttft_us BIGINT,
    tokens TEXT NOT NULL,
    unit_prices TEXT NOT NULL,
    provenance TEXT NOT NULL,
    cost_status TEXT NOT NULL,
    cost_nanos BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL
);
CREATE INDEX generations_by_time ON generations (account, admitted_at_us);

-- What people call a key; the highest revision wins.
CREATE TABLE key_names (
    hash TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    label TEXT NOT NULL,
    revision BIGINT NOT NULL
);
