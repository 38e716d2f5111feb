//! The double-entry journal: the postings of every transaction sum to zero. Rows are inserted, never changed.

use eventlog::store::{placeholders, portions};
use events::Nanos;
use events::ledger::CreditKind;
use sqlx::{Any, AnyConnection, AssertSqlSafe};

/// The reason for a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The charge of a request.
    Usage,
    /// Credit that came or went otherwise.
    Credit(CreditKind),
    /// Credit lent to a gateway.
    LeaseGranted,
    /// Credit that a gateway returned.
    LeaseReturned,
}

impl Kind {
    /// Returns the word in the table and, for the kinds that people see, in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Credit(kind) => kind.as_str(),
            Self::LeaseGranted => "lease_granted",
            Self::LeaseReturned => "lease_returned",
        }
    }
}

/// A change of an account's money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The id of the event or command that caused the transaction; never reused.
    pub id: String,
    /// A hash or text of the content, which exposes the same id with other content; empty for the ledger's own transactions.
    pub fingerprint: String,
    pub account: String,
    /// The transaction's number in the account's history.
    pub version: i64,
    pub kind: Kind,
    /// The change of the account's balance; zero for leases.
    pub amount: Nanos,
    /// The account's balance after the transaction: available and lent credit.
    pub balance_after: Nanos,
    /// A text for users.
    pub description: String,
    /// The time in microseconds since 1970.
    pub created_at_us: i64,
    /// The id of the charged request.
    pub request: Option<String>,
    /// The hash of the key that made the request.
    pub key_hash: Option<String>,
    /// The id of the lease that the transaction concerns.
    pub lease: Option<String>,
    /// The list price of a request with an own provider key.
    pub byok: Option<Nanos>,
    pub posting: Posting,
}

/// The amounts that a transaction posts to each book. They sum to zero; the database refuses others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Posting {
    /// The amount in the book of credit that the account may spend or lend.
    pub credit: Nanos,
    /// The amount in the book of the account's credit that is lent to gateways.
    pub held: Nanos,
    /// The amount in the operator's book of charges that came after their lease was settled and found no credit.
    pub overdraft: Nanos,
    /// The name of one more book; empty if there is none.
    pub book: String,
    /// The amount in that book.
    pub booked: Nanos,
}

impl Posting {
    /// Returns the sum of all amounts.
    #[must_use]
    pub const fn sum(&self) -> i64 {
        self.credit.0 + self.held.0 + self.overdraft.0 + self.booked.0
    }
}

/// Returns the name of the book that holds the revenue from the account's partition.
#[must_use]
pub fn revenue(account: &str) -> String {
    format!("revenue:{:02}", events::subject::partition(account))
}

/// The operator's book of gifts and corrections.
pub const ADJUSTMENTS: &str = "adjustments";
/// The operator's book of payments.
pub const CASH: &str = "cash";
/// The operator's book of fees for purchases.
pub const FEES: &str = "fees";
/// The operator's book of credit that expired unspent.
pub const BREAKAGE: &str = "breakage";

/// Inserts transactions.
///
/// # Errors
/// Fails if an id exists already or the amounts of a posting do not sum to zero.
pub async fn write(connection: &mut AnyConnection, transactions: &[Transaction]) -> Result<(), sqlx::Error> {
    for portion in portions(transactions) {
        let sql = format!(
            "INSERT INTO transactions (id, fingerprint, account, version, kind, amount_nanos, balance_after_nanos, description, created_at_us, request, key_hash, lease, credit_nanos, held_nanos, overdraft_nanos, book, book_nanos, byok_nanos) VALUES {}",
            placeholders(connection, portion.len(), 18)
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
                .bind(transaction.posting.booked.0)
                .bind(transaction.byok.map(|list| list.0));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
