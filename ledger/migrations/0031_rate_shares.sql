-- The gateways that hold shares of rate limits: the number and the time of their last call.
CREATE TABLE rate_holders (
    holder TEXT PRIMARY KEY,
    sequence BIGINT NOT NULL,
    renewed_at_us BIGINT NOT NULL
);

-- The share of each gateway of a limit: what it may pass in one window, what it has passed, and what it needs.
CREATE TABLE rate_shares (
    limit_id TEXT NOT NULL,
    holder TEXT NOT NULL,
    window_ms BIGINT NOT NULL,
    share BIGINT NOT NULL,
    used BIGINT NOT NULL,
    needs BIGINT NOT NULL,
    least BIGINT NOT NULL,
    -- Since when it has needed more than its share; null if it has enough.
    short_since_us BIGINT,
    PRIMARY KEY (limit_id, holder)
);
CREATE INDEX rate_shares_short ON rate_shares (limit_id) WHERE short_since_us IS NOT NULL;
CREATE INDEX rate_shares_by_holder ON rate_shares (holder);
