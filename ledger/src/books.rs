//! Double entry: every movement of money is a transaction whose legs sum to zero. Rows are inserted, never changed.

use eventlog::store::{placeholders, portions};
use events::Nanos;
use sqlx::{Any, AnyConnection, AssertSqlSafe};

/// Why money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request was charged.
    Usage,
    /// The operator gave credit.
    Grant,
    /// The operator corrected the credit.
    Adjustment,
    /// Credit was paid for.
    Purchase,
    /// The platform's fee for that.
    Fee,
    /// A purchase was given back.
    Refund,
    /// What was left of a grant at its expiry.
    Expiry,
    /// Credit was lent to a gateway.
    LeaseGranted,
    /// A gateway gave credit back.
    LeaseReturned,
}

impl Kind {
    /// The word in the table and, for those that people see, in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Grant => "grant",
            Self::Adjustment => "adjustment",
            Self::Purchase => "credit",
            Self::Fee => "fee",
            Self::Refund => "refund",
            Self::Expiry => "expiry",
            Self::LeaseGranted => "lease_granted",
            Self::LeaseReturned => "lease_returned",
        }
    }
}

/// A movement of one account's money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// Unique for ever: the event's or command's id.
    pub id: String,
    /// What tells the same id with other content; empty for the ledger's own movements.
    pub content_hash: String,
    /// Whose money.
    pub account: String,
    /// Its number among the account's movements.
    pub version: i64,
    /// Why.
    pub kind: Kind,
    /// How the account's balance changes; zero for leases.
    pub amount: Nanos,
    /// The account's balance after it: available and lent.
    pub balance_after: Nanos,
    /// For people.
    pub description: String,
    /// Microseconds since 1970.
    pub created_at_us: i64,
    /// The request that was charged.
    pub request: Option<String>,
    /// The key that was used.
    pub key_hash: Option<String>,
    /// The lease it is about.
    pub lease: Option<String>,
    /// Book and amount of each leg; they sum to zero.
    pub legs: Vec<(String, Nanos)>,
}

/// The book of credit that an account may spend or lend.
#[must_use]
pub fn credit(account: &str) -> String {
    format!("credit:{account}")
}

/// The book of credit lent to gateways.
#[must_use]
pub fn held(account: &str) -> String {
    format!("held:{account}")
}

/// The book of what a partition's accounts paid.
#[must_use]
pub fn revenue(account: &str) -> String {
    format!("revenue:{:02}", events::subject::partition(account))
}

/// The operator's book of gifts and corrections.
pub const ADJUSTMENTS: &str = "adjustments";
/// The operator's book of what was paid.
pub const CASH: &str = "cash";
/// The operator's book of fees for purchases.
pub const FEES: &str = "fees";
/// The operator's book of credit that nobody spent in time.
pub const BREAKAGE: &str = "breakage";
/// The operator's book of charges that came after their lease was settled and found no credit.
pub const LATE_OVERDRAFT: &str = "late_overdraft";

/// Writes movements and their legs.
///
/// # Errors
/// When the database is away, or an id is there already.
pub async fn write(connection: &mut AnyConnection, movements: &[Movement]) -> Result<(), sqlx::Error> {
    for portion in portions(movements) {
        let sql = format!(
            "INSERT INTO transactions (id, content_hash, account, version, kind, amount_nanos, balance_after_nanos, description, created_at_us, request, key_hash, lease) VALUES {}",
            placeholders(connection, portion.len(), 12)
        );
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for movement in portion {
            query = query
                .bind(movement.id.clone())
                .bind(movement.content_hash.clone())
                .bind(movement.account.clone())
                .bind(movement.version)
                .bind(movement.kind.as_str())
                .bind(movement.amount.0)
                .bind(movement.balance_after.0)
                .bind(movement.description.clone())
                .bind(movement.created_at_us)
                .bind(movement.request.clone())
                .bind(movement.key_hash.clone())
                .bind(movement.lease.clone());
        }
        query.execute(&mut *connection).await?;
    }
    let legs: Vec<(&str, i64, &str, i64)> = movements
        .iter()
        .flat_map(|movement| {
            movement
                .legs
                .iter()
                .filter(|(_, amount)| *amount != Nanos::ZERO)
                .zip(0..)
                .map(|((book, amount), leg)| (movement.id.as_str(), leg, book.as_str(), amount.0))
        })
        .collect();
    for portion in portions(&legs) {
        let sql =
            format!("INSERT INTO entries (transaction_id, leg, book, amount_nanos) VALUES {}", placeholders(connection, portion.len(), 4));
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for (id, leg, book, amount) in portion {
            query = query.bind((*id).to_owned()).bind(*leg).bind((*book).to_owned()).bind(*amount);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
