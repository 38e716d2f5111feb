-- Whose money: what is free, what is lent to gateways, what is spent. Together: what was bought.
CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    version BIGINT NOT NULL,
    available_nanos BIGINT NOT NULL,
    held_nanos BIGINT NOT NULL,
    spent_nanos BIGINT NOT NULL,
    bought_nanos BIGINT NOT NULL,
    CONSTRAINT accounts_available_not_negative CHECK (available_nanos >= 0),
    CONSTRAINT accounts_held_not_negative CHECK (held_nanos >= 0),
    CONSTRAINT accounts_add_up CHECK (available_nanos + held_nanos + spent_nanos = bought_nanos)
);

-- What the ledger must know of a key: whose it is and how much it may spend.
CREATE TABLE keys (
    hash TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    limit_nanos BIGINT,
    limit_reset TEXT,
    revision BIGINT NOT NULL
);

-- Spending of a key by period and window; what is lent counts against the limit too.
CREATE TABLE key_windows (
    key_hash TEXT NOT NULL,
    period TEXT NOT NULL,
    starts_at_us BIGINT NOT NULL,
    spent_nanos BIGINT NOT NULL,
    held_nanos BIGINT NOT NULL,
    PRIMARY KEY (key_hash, period, starts_at_us),
    CONSTRAINT key_windows_held_not_negative CHECK (held_nanos >= 0)
);

-- Slices of credit lent to gateways.
CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    key_hash TEXT,
    period TEXT,
    window_starts_at_us BIGINT NOT NULL,
    holder TEXT NOT NULL,
    state TEXT NOT NULL,
    granted_nanos BIGINT NOT NULL,
    consumed_nanos BIGINT NOT NULL,
    returned_nanos BIGINT NOT NULL,
    -- What the gateway says that ended requests have cost, posted or not: it tells what is in flight from what is on its way.
    spent_nanos BIGINT NOT NULL,
    expires_at_us BIGINT NOT NULL,
    CONSTRAINT leases_not_overdrawn CHECK (granted_nanos >= consumed_nanos + returned_nanos)
);
CREATE INDEX leases_by_state ON leases (state, expires_at_us);
CREATE INDEX leases_by_account ON leases (account, state);
CREATE INDEX leases_by_holder ON leases (holder, state);

-- Every movement of money; rows are inserted, never changed. `version` counts an account's movements without a gap.
CREATE TABLE transactions (
    id TEXT PRIMARY KEY,
    content_hash TEXT NOT NULL,
    account TEXT NOT NULL,
    version BIGINT NOT NULL,
    kind TEXT NOT NULL,
    amount_nanos BIGINT NOT NULL,
    balance_after_nanos BIGINT NOT NULL,
    description TEXT NOT NULL,
    created_at_us BIGINT NOT NULL,
    request TEXT,
    key_hash TEXT,
    lease TEXT
);
CREATE UNIQUE INDEX transactions_by_account ON transactions (account, version);
CREATE UNIQUE INDEX transactions_one_per_request ON transactions (request) WHERE request IS NOT NULL;

-- The legs of every movement; they sum to zero.
CREATE TABLE entries (
    transaction_id TEXT NOT NULL,
    leg BIGINT NOT NULL,
    book TEXT NOT NULL,
    amount_nanos BIGINT NOT NULL,
    PRIMARY KEY (transaction_id, leg)
);

-- The ledger's own events, kept for ever: written with the effect, published afterwards.
CREATE TABLE outbox (
    sequence BIGINT PRIMARY KEY,
    event_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    payload TEXT NOT NULL
);
CREATE TABLE outbox_state (
    one BIGINT PRIMARY KEY,
    node TEXT NOT NULL,
    written BIGINT NOT NULL,
    published BIGINT NOT NULL
);
