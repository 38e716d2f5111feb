//! Credit that comes and goes other than by usage: grants and adjustments, once per command id.

use events::Nanos;
use events::ask::{CreditAnswer, PostCredit};
use events::ledger::{CreditKind, CreditPosted};
use sqlx::{Any, Row};

use crate::account;
use crate::books::{self, Kind, Movement};
use crate::outbox;
use crate::process::Ledger;

/// Posts credit; the same id posts once.
///
/// # Errors
/// When the database is away, or somebody else moved the account meanwhile: ask again.
pub async fn post(ledger: &Ledger, command: &PostCredit) -> Result<CreditAnswer, sqlx::Error> {
    let content = format!("{}:{}:{}", command.account, command.kind.as_str(), command.amount_nanos.0);
    let mut transaction = ledger.store.begin().await?;
    let known = sqlx::query::<Any>("SELECT content_hash, balance_after_nanos FROM transactions WHERE id = $1")
        .bind(command.id.clone())
        .fetch_optional(&mut *transaction)
        .await?;
    if let Some(row) = known {
        let same = row.try_get::<String, _>("content_hash")? == content;
        let balance_nanos = Nanos(row.try_get("balance_after_nanos")?);
        return Ok(if same { CreditAnswer::Posted { transaction: command.id.clone(), balance_nanos } } else { CreditAnswer::Conflict });
    }
    let Some(mut account) = account::repo::find(&mut transaction, command.account.as_str()).await? else {
        return Ok(CreditAnswer::UnknownAccount);
    };
    let before = account.version;
    if !account.credit(command.amount_nanos) {
        return Ok(CreditAnswer::Insufficient);
    }
    account::repo::save(&mut transaction, &account, before).await?;
    let movement = Movement {
        id: command.id.clone(),
        content_hash: content,
        account: account.id.clone(),
        version: account.version,
        kind: match command.kind {
            CreditKind::Grant => Kind::Grant,
            CreditKind::Adjustment => Kind::Adjustment,
        },
        amount: command.amount_nanos,
        balance_after: account.balance(),
        description: command.description.clone(),
        created_at_us: ledger.clock.now_us(),
        request: None,
        key_hash: None,
        lease: None,
        legs: vec![(books::ADJUSTMENTS.to_owned(), Nanos(-command.amount_nanos.0)), (books::credit(&account.id), command.amount_nanos)],
    };
    books::write(&mut transaction, &[movement]).await?;
    let posted = CreditPosted {
        id: command.id.clone(),
        account: command.account.clone(),
        kind: command.kind,
        amount_nanos: command.amount_nanos,
        description: command.description.clone(),
    };
    outbox::write(&mut transaction, ledger, &account.id, &command.id, &posted).await?;
    transaction.commit().await?;
    Ok(CreditAnswer::Posted { transaction: command.id.clone(), balance_nanos: account.balance() })
}
