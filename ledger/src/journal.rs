//! The double-entry journal: the postings of every transaction sum to zero. Rows are inserted, never changed.

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

/// One change of an account's money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Unique for ever: the event's or command's id.
    pub id: String,
    /// What tells the same id with other content; empty for the ledger's own transactions.
    pub fingerprint: String,
    /// Whose money.
    pub account: String,
    /// Its number among the account's transactions.
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
    /// Where it comes from and goes to.
    pub posting: Posting,
}

/// The posting of a transaction; they sum to zero, the database refuses others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Posting {
    /// In the book of credit that the account may spend or lend.
    pub credit: Nanos,
    /// In the book of the account's credit that is lent to gateways.
    pub held: Nanos,
    /// In the operator's book of charges that came after their lease was settled and found no credit.
    pub overdraft: Nanos,
    /// In one other book; empty when there is none.
    pub book: String,
    /// The amount there.
    pub booked: Nanos,
}

impl Posting {
    /// What they sum to.
    #[must_use]
    pub const fn sum(&self) -> i64 {
        self.credit.0 + self.held.0 + self.overdraft.0 + self.booked.0
    }
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

/// Writes transactions.
///
/// # Errors
/// When the database is away, an id is there already, or posting do not sum to zero.
pub async fn write(connection: &mut AnyConnection, transactions: &[Transaction]) -> Result<(), sqlx::Error> {
    for portion in portions(transactions) {
        let sql = format!(
            "INSERT INTO transactions (id, fingerprint, account, version, kind, amount_nanos, balance_after_nanos, description, created_at_us, request, key_hash, lease, credit_nanos, held_nanos, overdraft_nanos, book, book_nanos) VALUES {}",
            placeholders(connection, portion.len(), 17)
        );
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql));
        for transaction in portion {
            query = query
                .bind(transaction.id.clone())
                .bind(transaction.fingerprint.clone())
                .bind(transaction.account.clone())
                .bind(transaction.version)
                .bind(transaction.kind.as_str())
                .bind(transaction.amount.0)
                .bind(transaction.balance_after.0)
                .bind(transaction.description.clone())
                .bind(transaction.created_at_us)
                .bind(transaction.request.clone())
                .bind(transaction.key_hash.clone())
                .bind(transaction.lease.clone())
                .bind(transaction.posting.credit.0)
                .bind(transaction.posting.held.0)
                .bind(transaction.posting.overdraft.0)
                .bind(transaction.posting.book.clone())
                .bind(transaction.posting.booked.0);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
