//! The contents of books and reports as text, for comparison byte by byte.

use std::collections::BTreeSet;

use sqlx::Row;

use crate::Arouter;
use crate::load::read;

/// A query for every transaction in the ledger's database.
pub const TRANSACTIONS: &str = "SELECT id || '|' || fingerprint || '|' || account || '|' || CAST(version AS TEXT) || '|' || kind || '|' || CAST(amount_nanos AS TEXT) || '|' ||
    CAST(balance_after_nanos AS TEXT) || '|' || description || '|' || CAST(created_at_us AS TEXT) || '|' || COALESCE(request, '') || '|' || COALESCE(key_hash, '') || '|' || COALESCE(lease, '') FROM transactions";
/// A query for every fact that the ledger has written, in its database.
pub const FACTS: &str = "SELECT CAST(sequence AS TEXT) || '|' || event_id || '|' || subject || '|' || payload FROM outbox";
/// A query for every report of a request, in the projector's database.
pub const REPORTS: &str = "SELECT request || '|' || account || '|' || key_hash || '|' || model || '|' || outcome || '|' || CAST(admitted_at_us AS TEXT) || '|' || CAST(latency_us AS TEXT) || '|' ||
    tokens || '|' || unit_prices || '|' || CAST(cost_nanos AS TEXT) FROM generations";

/// Returns the rows of the database `ledger` or `projector`, as text.
pub async fn rows(arouter: &Arouter, database: &str, sql: &'static str) -> BTreeSet<String> {
    read(&arouter.database(database), sql).await.iter().map(|row| row.get(0)).collect()
}
