//! The statement of a month from the books. A sum that does not fit is an error, never a figure.

use events::Nanos;
use events::clock::rfc3339;
use events::ids::hex;
use sha2::{Digest, Sha256};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, Row};

use super::body::{LastVersion, Movement, Statement};
use super::month::Month;
use crate::transaction::list::KINDS;

/// The number of versions that are read at once.
const PORTION: i64 = 5_000;

#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    /// There is no such account, or it is younger than the month.
    #[error("the account did not exist in this month")]
    BeforeAccount,
    /// The books contradict themselves; `arouter verify` tells more.
    #[error("the balance of account {account} does not follow from its transactions at version {version}")]
    Broken { account: String, version: i64 },
}

/// Computes the statement. With `up_to`, it covers no later version and is open: the state in which an open month was once printed.
///
/// # Errors
/// The account is unknown or younger, or its balances do not follow from its transactions.
pub async fn statement(
    connection: &mut AnyConnection,
    account: &str,
    month: Month,
    up_to: Option<i64>,
) -> Result<Statement, StatementError> {
    let row = sqlx::query::<Any>("SELECT created_at_us, version FROM accounts WHERE id = $1").bind(account.to_owned());
    let row = row.fetch_optional(&mut *connection).await?.ok_or(StatementError::BeforeAccount)?;
    if row.try_get::<i64, _>("created_at_us")? >= month.end_us() {
        return Err(StatementError::BeforeAccount);
    }
    let newest: i64 = row.try_get("version")?;
    let next = first_since(connection, account, month.end_us()).await?;
    let last = next.map_or(newest, |next| next - 1).min(up_to.unwrap_or(i64::MAX));
    let first = first_since(connection, account, month.start_us()).await?.unwrap_or(last + 1).min(last + 1);
    let opening = balance_at(connection, account, first - 1).await?;
    let mut fold = Fold::new(account, first - 1, opening.balance);
    let mut from = first;
    while from <= last {
        let to = last.min(from + PORTION - 1);
        for row in rows(connection, account, from, to).await? {
            fold.add(&row)?;
        }
        from = to + 1;
    }
    let end = balance_at(connection, account, last).await?;
    let broken = StatementError::Broken { account: account.to_owned(), version: last };
    let moved = fold.movements.iter().try_fold(opening.balance, |sum, movement| sum.checked_add(movement.amount));
    if moved != Some(end.balance) || fold.balance != end.balance || fold.version != last {
        return Err(broken);
    }
    Ok(Statement {
        account: account.to_owned(),
        month: month.to_string(),
        currency: "USD".to_owned(),
        closed: next.is_some() && up_to.is_none(),
        opening_balance: opening.balance,
        transactions: fold.movements.iter().map(|movement| movement.count).sum(),
        movements: fold.movements,
        closing_balance: end.balance,
        sha256: hex(&fold.hash.finalize()),
        as_of: LastVersion { version: last, time: end.time },
    })
}

/// Returns the first version of the account whose time is at least this one.
async fn first_since(connection: &mut AnyConnection, account: &str, time_us: i64) -> Result<Option<i64>, sqlx::Error> {
    let sql = "SELECT CAST(COALESCE(MIN(version), 0) AS BIGINT) AS version FROM transactions WHERE account = $1 AND created_at_us >= $2";
    let row = sqlx::query::<Any>(sql).bind(account.to_owned()).bind(time_us).fetch_one(connection).await?;
    row.try_get::<i64, _>("version").map(|version| Some(version).filter(|version| *version > 0))
}

struct Point {
    balance: Nanos,
    time: Option<String>,
}

async fn balance_at(connection: &mut AnyConnection, account: &str, version: i64) -> Result<Point, sqlx::Error> {
    let sql = "SELECT balance_after_nanos, created_at_us FROM transactions WHERE account = $1 AND version = $2";
    let row = sqlx::query::<Any>(sql).bind(account.to_owned()).bind(version).fetch_optional(connection).await?;
    row.map_or(Ok(Point { balance: Nanos::ZERO, time: None }), |row| {
        Ok(Point { balance: Nanos(row.try_get("balance_after_nanos")?), time: Some(rfc3339(row.try_get("created_at_us")?)) })
    })
}

async fn rows(connection: &mut AnyConnection, account: &str, from: i64, to: i64) -> Result<Vec<AnyRow>, sqlx::Error> {
    let sql = "SELECT id, version, kind, amount_nanos, balance_after_nanos, description, created_at_us, request, key_hash FROM transactions
         WHERE account = $1 AND version >= $2 AND version <= $3 ORDER BY version";
    sqlx::query::<Any>(sql).bind(account.to_owned()).bind(from).bind(to).fetch_all(connection).await
}

/// The sums and the hash of the transactions seen so far.
struct Fold {
    account: String,
    movements: Vec<Movement>,
    hash: Sha256,
    balance: Nanos,
    version: i64,
}

impl Fold {
    fn new(account: &str, version: i64, balance: Nanos) -> Self {
        let movement = |kind: &str| Movement { kind: kind.to_owned(), count: 0, amount: Nanos::ZERO };
        Self { account: account.to_owned(), movements: KINDS.map(movement).into(), hash: Sha256::new(), balance, version }
    }

    /// Adds a transaction. Each must continue the history: the next version, and a balance that follows from the amount.
    fn add(&mut self, row: &AnyRow) -> Result<(), StatementError> {
        let (version, amount) = (row.try_get::<i64, _>("version")?, Nanos(row.try_get("amount_nanos")?));
        let after = Nanos(row.try_get("balance_after_nanos")?);
        let broken = || StatementError::Broken { account: self.account.clone(), version };
        if self.balance.checked_add(amount) != Some(after) || version != self.version + 1 {
            return Err(broken());
        }
        (self.balance, self.version) = (after, version);
        let kind: String = row.try_get("kind")?;
        let Some(movement) = self.movements.iter_mut().find(|movement| movement.kind == kind) else {
            // Lent credit stays the account's own.
            return if amount == Nanos::ZERO { Ok(()) } else { Err(broken()) };
        };
        movement.count += 1;
        movement.amount = movement.amount.checked_add(amount).ok_or_else(broken)?;
        self.hash.update(line(row, &kind, amount, after)?);
        Ok(())
    }
}

/// Returns the canonical line of a transaction.
fn line(row: &AnyRow, kind: &str, amount: Nanos, after: Nanos) -> Result<String, sqlx::Error> {
    let cells = (
        format!("txn_{}", row.try_get::<String, _>("id")?),
        kind,
        amount.to_decimals(),
        "USD",
        row.try_get::<String, _>("description")?,
        rfc3339(row.try_get("created_at_us")?),
        after.to_decimals(),
        row.try_get::<Option<String>, _>("request")?,
        row.try_get::<Option<String>, _>("key_hash")?,
    );
    serde_json::to_string(&cells).map(|line| line + "\n").map_err(|error| sqlx::Error::Decode(error.into()))
}
