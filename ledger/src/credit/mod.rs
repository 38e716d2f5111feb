//! Credit that comes and goes other than by usage: grants and adjustments, once per command id.

use events::Nanos;
use events::ask::{CreditAnswer, PostCredit};
use events::ledger::{CreditKind, CreditPosted};
use sqlx::{Any, Row};

use crate::books::{self, Kind, Movement};
use crate::desk::{Desk, Fact, Input, Output};
use crate::process::Ledger;

/// Posts credit; the same id posts once.
///
/// # Errors
/// When the database is away, or somebody else moved the account meanwhile: ask again.
pub async fn post(ledger: &Ledger, command: &PostCredit) -> Result<CreditAnswer, sqlx::Error> {
    let mut transaction = ledger.store.begin().await?;
    let known = sqlx::query::<Any>("SELECT content_hash, balance_after_nanos FROM transactions WHERE id = $1")
        .bind(command.id.clone())
        .fetch_optional(&mut *transaction)
        .await?;
    if let Some(row) = known {
        let same = row.try_get::<String, _>("content_hash")? == content(command);
        let balance_nanos = Nanos(row.try_get("balance_after_nanos")?);
        return Ok(if same { CreditAnswer::Posted { transaction: command.id.clone(), balance_nanos } } else { CreditAnswer::Conflict });
    }
    let mut desk = Desk::default();
    desk.load_account(&mut transaction, command.account.as_str()).await?;
    let answer = match desk.step(&Input::Credit(command.clone()), ledger.clock.now_us()) {
        Output::Credit(answer) => answer,
        Output::Lease(_) | Output::Done => CreditAnswer::UnknownAccount,
    };
    desk.save(&mut transaction, ledger).await?;
    transaction.commit().await?;
    Ok(answer)
}

/// What tells the same id with other content.
fn content(command: &PostCredit) -> String {
    format!("{}:{}:{}", command.account, command.kind.as_str(), command.amount_nanos.0)
}

impl Desk {
    pub(crate) fn credit(&mut self, command: &PostCredit, now_us: i64) -> CreditAnswer {
        let id = command.account.as_str();
        let Some(account) = self.accounts.get(id) else { return CreditAnswer::UnknownAccount };
        if !account.clone().credit(command.amount_nanos) {
            return CreditAnswer::Insufficient;
        }
        let credited = self.change_account(id, |account| (account.credit(command.amount_nanos), account.version, account.balance()));
        let Some((true, version, balance_after)) = credited else { return CreditAnswer::Insufficient };
        self.effects.movements.push(Movement {
            id: command.id.clone(),
            content_hash: content(command),
            account: id.to_owned(),
            version,
            kind: match command.kind {
                CreditKind::Grant => Kind::Grant,
                CreditKind::Adjustment => Kind::Adjustment,
            },
            amount: command.amount_nanos,
            balance_after,
            description: command.description.clone(),
            created_at_us: now_us,
            request: None,
            key_hash: None,
            lease: None,
            legs: vec![(books::ADJUSTMENTS.to_owned(), Nanos(-command.amount_nanos.0)), (books::credit(id), command.amount_nanos)],
        });
        self.effects.facts.push(Fact::CreditPosted(CreditPosted {
            id: command.id.clone(),
            account: command.account.clone(),
            kind: command.kind,
            amount_nanos: command.amount_nanos,
            description: command.description.clone(),
        }));
        CreditAnswer::Posted { transaction: command.id.clone(), balance_nanos: balance_after }
    }
}
