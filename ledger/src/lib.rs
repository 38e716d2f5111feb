//! The ledger: the only place in which money moves. It holds accounts, leases, postings and transactions, their tables and read routes.

pub mod journal;
pub mod batches;
pub mod decide;
pub mod account;
pub mod key;
pub mod lease;
pub mod posting;
pub mod grant;
pub mod byok;
pub mod credit;
pub mod idempotency;
pub mod rate;
pub mod transaction;
pub mod statement;
pub mod readers;
pub mod control_reader;
pub mod outbox;
pub mod signing_keys;
pub mod quarantine;
pub mod replay;
pub mod rpc;
pub mod router;
pub mod process;
pub mod verify;

pub use process::{Ledger, LedgerConfig};

use eventlog::digest::Table;
use eventlog::store::Migration;

/// The ledger's tables.
pub const MIGRATIONS: &[Migration] = &[
    (2, "books", include_str!("../migrations/0002_books.sql")),
    (3, "grants", include_str!("../migrations/0003_grants.sql")),
    (4, "legs", include_str!("../migrations/0004_legs.sql")),
    (5, "key_claims", include_str!("../migrations/0005_key_claims.sql")),
    (6, "names", include_str!("../migrations/0006_names.sql")),
    (20, "purchases", include_str!("../migrations/0020_purchases.sql")),
    (21, "idempotency", include_str!("../migrations/0021_idempotency.sql")),
    (24, "revisions", include_str!("../migrations/0024_revisions.sql")),
    (30, "byok", include_str!("../migrations/0030_byok.sql")),
    (31, "rate_shares", include_str!("../migrations/0031_rate_shares.sql")),
    (2_001, "readers", include_str!("../migrations/2001_readers.sql")),
];

/// The ledger's tables, with the columns that are the same in rebuilt books. A gateway's interim reports about a lease are excluded; its
/// next request repeats them.
pub const TABLES: &[Table] = &[
    Table::new(
        "accounts",
        &["id", "name", "created_at_us", "revision", "version", "available_nanos", "held_nanos", "spent_nanos", "credited_nanos"],
    ),
    Table::new("keys", &["hash", "account", "limit_nanos", "limit_reset", "revision"]),
    Table::new("key_windows", &["key_hash", "period", "starts_at_us", "spent_nanos", "held_nanos", "exempt_nanos", "byok_nanos"]),
    Table::new(
        "leases",
        &[
            "id",
            "account",
            "key_hash",
            "period",
            "window_starts_at_us",
            "holder",
            "state",
            "granted_nanos",
            "consumed_nanos",
            "returned_nanos",
        ],
    ),
    Table::new("grants", &["id", "account", "kind", "priority", "expires_at_us", "created_at_us", "amount_nanos", "remaining_nanos"]),
    Table::new(
        "transactions",
        &[
            "id",
            "fingerprint",
            "account",
            "version",
            "kind",
            "amount_nanos",
            "balance_after_nanos",
            "description",
            "created_at_us",
            "request",
            "key_hash",
            "lease",
            "credit_nanos",
            "held_nanos",
            "overdraft_nanos",
            "book",
            "book_nanos",
            "byok_nanos",
        ],
    ),
    Table::new("byok_months", &["account", "starts_at_us", "requests"]),
    Table::new("outbox", &["sequence", "event_id", "subject", "payload"]),
];
