//! The proofs that the books are right: each is one SQL statement, and none of them trusts a running total.

use eventlog::Store;
use sqlx::{Any, Row};

/// The result of one proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The rule that must hold.
    pub name: &'static str,
    /// The number of rows checked.
    pub looked_at: i64,
    /// Rows that break the rule, at most ten.
    pub broken: Vec<String>,
}

/// The proofs: a name, a query that counts the checked rows, and a query that selects `broken` for each row that breaks the rule.
const CHECKS: [(&str, &str, &str); 11] = [
    (
        "the postings of every transaction sum to zero",
        "SELECT COUNT(*) FROM transactions",
        "SELECT id AS broken FROM transactions WHERE credit_nanos + held_nanos + overdraft_nanos + book_nanos <> 0 LIMIT 10",
    ),
    (
        "every account's available, held and spent credit is all that came in",
        "SELECT COUNT(*) FROM accounts",
        "SELECT id AS broken FROM accounts WHERE available_nanos + held_nanos + spent_nanos <> credited_nanos OR available_nanos < 0 OR held_nanos < 0 LIMIT 10",
    ),
    (
        "every account's available credit is the fold of its book",
        "SELECT COUNT(*) FROM accounts",
        "SELECT a.id AS broken FROM accounts a LEFT JOIN (SELECT account, SUM(credit_nanos) AS total FROM transactions GROUP BY account) f ON f.account = a.id
         WHERE a.available_nanos <> COALESCE(f.total, 0) LIMIT 10",
    ),
    (
        "every account's held credit is the fold of its book and the sum of its leases",
        "SELECT COUNT(*) FROM leases",
        "SELECT a.id AS broken FROM accounts a
         LEFT JOIN (SELECT account, SUM(held_nanos) AS total FROM transactions GROUP BY account) f ON f.account = a.id
         LEFT JOIN (SELECT account, SUM(granted_nanos - consumed_nanos - returned_nanos) AS total FROM leases GROUP BY account) l ON l.account = a.id
         WHERE a.held_nanos <> COALESCE(f.total, 0) OR a.held_nanos <> COALESCE(l.total, 0) LIMIT 10",
    ),
    (
        "every account's spent credit is the sum of its usage transactions",
        "SELECT COUNT(*) FROM transactions WHERE kind = 'usage'",
        "SELECT a.id AS broken FROM accounts a LEFT JOIN (SELECT account, SUM(amount_nanos) AS total FROM transactions WHERE kind = 'usage' GROUP BY account) t ON t.account = a.id
         WHERE a.spent_nanos <> -COALESCE(t.total, 0) LIMIT 10",
    ),
    (
        "every account's balance is what is left of its grants",
        "SELECT COUNT(*) FROM grants",
        "SELECT a.id AS broken FROM accounts a LEFT JOIN (SELECT account, SUM(remaining_nanos) AS total FROM grants GROUP BY account) g ON g.account = a.id
         WHERE a.available_nanos + a.held_nanos <> COALESCE(g.total, 0) LIMIT 10",
    ),
    (
        "every account's history is gapless",
        "SELECT COUNT(*) FROM transactions",
        "SELECT a.id AS broken FROM accounts a LEFT JOIN (SELECT account, COUNT(*) AS moves, MAX(version) AS last FROM transactions GROUP BY account) t ON t.account = a.id
         WHERE a.version <> COALESCE(t.moves, 0) OR a.version <> COALESCE(t.last, 0) LIMIT 10",
    ),
    (
        "every request is charged at most once",
        "SELECT COUNT(*) FROM transactions WHERE request IS NOT NULL",
        "SELECT request AS broken FROM transactions WHERE request IS NOT NULL GROUP BY request HAVING COUNT(*) > 1 LIMIT 10",
    ),
    (
        "every account's count of requests with own provider keys is the number of their transactions",
        "SELECT COUNT(*) FROM byok_months",
        "SELECT a.id AS broken FROM accounts a
         LEFT JOIN (SELECT account, SUM(requests) AS total FROM byok_months GROUP BY account) m ON m.account = a.id
         LEFT JOIN (SELECT account, COUNT(*) AS total FROM transactions WHERE byok_nanos IS NOT NULL GROUP BY account) t ON t.account = a.id
         WHERE COALESCE(m.total, 0) <> COALESCE(t.total, 0) LIMIT 10",
    ),
    (
        "every source of usage is gapless",
        "SELECT COUNT(*) FROM sources",
        "SELECT source || ' after ' || reader || ' ' || CAST(watermark AS TEXT) AS broken FROM sources WHERE beyond <> '[]' LIMIT 10",
    ),
    (
        "no event that was set aside waits for a decision",
        "SELECT COUNT(*) FROM quarantine",
        "SELECT event_id || ': ' || reason AS broken FROM quarantine WHERE decision IS NULL LIMIT 10",
    ),
];

/// Runs all proofs on one snapshot of the books.
pub async fn checks(store: &Store) -> Result<Vec<Check>, sqlx::Error> {
    let mut transaction = store.snapshot().await?;
    let mut results = Vec::new();
    for (name, count, select) in CHECKS {
        let looked_at = sqlx::query::<Any>(count).fetch_one(&mut *transaction).await?.try_get(0)?;
        let rows = sqlx::query::<Any>(select).fetch_all(&mut *transaction).await?;
        let broken = rows.iter().map(|row| row.try_get("broken")).collect::<Result<_, _>>()?;
        results.push(Check { name, looked_at, broken });
    }
    Ok(results)
}
