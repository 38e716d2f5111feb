//! Changes of credit other than by usage: grants, purchases, refunds and corrections, each posted once per command id.

pub mod billing;

use events::ledger::{CreditKind, CreditPosted, GrantTerms};
use events::rpc::{CreditCommand, CreditReply, PostCredit};
use events::{Failpoint, Nanos, failpoint};
use sqlx::{Any, Row};

use crate::decide::{self, Command, Fact, Reply};
use crate::grant::entity::{Grant, Origin, PRIORITY_DEFAULT};
use crate::journal::{self, Kind, Posting, Transaction};
use crate::process::Ledger;

/// The time for which a purchase can be refunded, in microseconds: 24 hours.
const REFUND_WITHIN_US: i64 = 24 * 3_600 * 1_000_000;

/// Posts a change of credit; a repeated command returns the first result.
///
/// # Errors
/// Returns `RowNotFound` if another process changed the account concurrently; the caller retries.
pub async fn post(ledger: &Ledger, command: &PostCredit) -> Result<CreditReply, sqlx::Error> {
    // Exclusive, because the same command may reach two ledgers concurrently.
    let mut transaction = ledger.store.begin_exclusive().await?;
    let known = sqlx::query::<Any>("SELECT fingerprint, amount_nanos, balance_after_nanos FROM transactions WHERE id = $1")
        .bind(command.id.clone())
        .fetch_optional(&mut *transaction)
        .await?;
    if let Some(row) = known {
        if row.try_get::<String, _>("fingerprint")? != content(command) {
            return Ok(CreditReply::Conflict);
        }
        let (amount_nanos, balance_nanos) = (Nanos(row.try_get("amount_nanos")?), Nanos(row.try_get("balance_after_nanos")?));
        return Ok(CreditReply::Posted { transaction: command.id.clone(), amount_nanos, balance_nanos });
    }
    let mut state = ledger.state();
    state.load_account(&mut transaction, command.account.as_str()).await?;
    state.load_grants(&mut transaction, &[command.account.as_str()]).await?;
    let answer = match state.apply(&Command::Credit(command.clone()), ledger.clock.now_us()) {
        Reply::Credit(answer) => answer,
        Reply::Lease(_) | Reply::Done => CreditReply::UnknownAccount,
    };
    state.save(&mut transaction, ledger).await?;
    failpoint(Failpoint::CreditSaved);
    transaction.commit().await?;
    failpoint(Failpoint::CreditCommitted);
    Ok(answer)
}

/// Returns a text of the content, which exposes the same id with other content.
fn content(command: &PostCredit) -> String {
    let account = &command.account;
    match &command.command {
        CreditCommand::Grant { amount_nanos, priority: None, expires_at_us: None } => format!("{account}:grant:{}", amount_nanos.0),
        CreditCommand::Grant { amount_nanos, priority, expires_at_us } => {
            format!("{account}:grant:{}:{}:{}", amount_nanos.0, priority.unwrap_or(PRIORITY_DEFAULT), expires_at_us.unwrap_or_default())
        }
        CreditCommand::Adjust { amount_nanos } => format!("{account}:adjustment:{}", amount_nanos.0),
        CreditCommand::Purchase { amount_nanos, expires_at_us: Some(expires) } => format!("{account}:credit:{}:{expires}", amount_nanos.0),
        CreditCommand::Purchase { amount_nanos, expires_at_us: None } => format!("{account}:credit:{}", amount_nanos.0),
        CreditCommand::Refund { purchase } => format!("{account}:refund:{purchase}"),
    }
}

/// A change of an account's credit that has been decided on.
pub(crate) struct Change {
    pub id: String,
    pub kind: CreditKind,
    /// The amount; negative ones take credit away.
    pub amount: Nanos,
    pub description: String,
    pub fingerprint: String,
    /// The terms of the new grant, if the change brings credit in.
    pub grant: Option<GrantTerms>,
    /// The one grant from which the amount was taken; `None` if it was taken from all in their order.
    pub taken_from: Option<String>,
}

/// Builds the change that a command requests.
fn change(command: &PostCredit, kind: CreditKind, amount: Nanos) -> Change {
    let (id, description, fingerprint) = (command.id.clone(), command.description.clone(), content(command));
    Change { id, kind, amount, description, fingerprint, grant: None, taken_from: None }
}

impl decide::State {
    pub(crate) fn credit(&mut self, command: &PostCredit, now_us: i64) -> CreditReply {
        let id = command.account.as_str();
        let Some(account) = self.accounts.get(id) else { return CreditReply::UnknownAccount };
        let grant = |origin, amount, priority: Option<i64>, expires_at_us| Grant {
            id: command.id.clone(),
            account: id.to_owned(),
            origin,
            priority: priority.unwrap_or(PRIORITY_DEFAULT),
            expires_at_us,
            created_at_us: now_us,
            amount,
            remaining: amount,
        };
        match &command.command {
            CreditCommand::Grant { amount_nanos, priority, expires_at_us } => {
                let grant = grant(Origin::Given, *amount_nanos, *priority, *expires_at_us);
                self.bring(command, CreditKind::Grant, grant, now_us)
            }
            CreditCommand::Adjust { amount_nanos } if *amount_nanos >= Nanos::ZERO => {
                self.bring(command, CreditKind::Adjustment, grant(Origin::Given, *amount_nanos, None, None), now_us)
            }
            CreditCommand::Adjust { amount_nanos } => {
                let taken = Nanos(amount_nanos.0.saturating_neg());
                if account.available < taken {
                    return CreditReply::Insufficient;
                }
                self.burn(id, taken);
                self.changed(command, change(command, CreditKind::Adjustment, *amount_nanos), now_us)
            }
            CreditCommand::Purchase { amount_nanos, expires_at_us } => {
                let Some((fee, paid)) = self.billing.fee(*amount_nanos).and_then(|fee| Some((fee, amount_nanos.checked_add(fee)?))) else {
                    return CreditReply::TooLarge;
                };
                // The whole payment comes in and the fee goes out of it, so that users see both.
                let paid = grant(Origin::Bought, paid, None, expires_at_us.or_else(|| self.billing.expires_at_us(now_us)));
                let mut answer = self.bring(command, CreditKind::Purchase, paid, now_us);
                if fee > Nanos::ZERO
                    && let CreditReply::Posted { balance_nanos, .. } = &mut answer
                {
                    *balance_nanos = self.take_fee(command, fee, now_us);
                }
                answer
            }
            CreditCommand::Refund { purchase } => self.refund(command, purchase, now_us),
        }
    }

    /// Refunds the unspent part of a purchase, as far as it is available; credit lent to gateways is not.
    fn refund(&mut self, command: &PostCredit, purchase: &str, now_us: i64) -> CreditReply {
        let id = command.account.as_str();
        let of_purchase =
            |grant: &&Grant| grant.id == purchase && grant.origin == Origin::Bought && now_us - grant.created_at_us <= REFUND_WITHIN_US;
        let found = self.grants.get(id).is_some_and(|grants| grants.iter().find(of_purchase).is_some());
        if !found {
            return CreditReply::NotRefundable;
        }
        let available = self.accounts.get(id).map_or(Nanos::ZERO, |account| account.available);
        let taken = self.take_from_grant(id, purchase, available);
        if taken == Nanos::ZERO {
            return CreditReply::NotRefundable;
        }
        let change = Change { taken_from: Some(purchase.to_owned()), ..change(command, CreditKind::Refund, Nanos(-taken.0)) };
        self.changed(command, change, now_us)
    }

    /// Posts incoming credit and keeps it as a grant.
    fn bring(&mut self, command: &PostCredit, kind: CreditKind, grant: Grant, now_us: i64) -> CreditReply {
        let terms = GrantTerms { priority: grant.priority, expires_at_us: grant.expires_at_us };
        let answer = self.changed(command, Change { grant: Some(terms), ..change(command, kind, grant.amount) }, now_us);
        if matches!(answer, CreditReply::Posted { .. }) {
            self.add_grant(grant);
        }
        answer
    }

    /// Posts the fee of a purchase; returns the balance after it.
    fn take_fee(&mut self, command: &PostCredit, fee: Nanos, now_us: i64) -> Nanos {
        let id = command.account.as_str();
        self.take_from_grant(id, &command.id, fee);
        let change = Change {
            id: format!("{}/fee", command.id),
            kind: CreditKind::Fee,
            amount: Nanos(-fee.0),
            description: "platform fee".to_owned(),
            fingerprint: String::new(),
            grant: None,
            taken_from: Some(command.id.clone()),
        };
        self.change_credit(id, change, now_us).unwrap_or_default()
    }

    fn changed(&mut self, command: &PostCredit, change: Change, now_us: i64) -> CreditReply {
        let (transaction, amount_nanos) = (command.id.clone(), change.amount);
        self.change_credit(command.account.as_str(), change, now_us)
            .map_or(CreditReply::Insufficient, |balance_nanos| CreditReply::Posted { transaction, amount_nanos, balance_nanos })
    }

    /// Changes the account's credit and posts it; the caller has changed the grants already. Returns the balance; `None` if too little is
    /// available.
    pub(crate) fn change_credit(&mut self, id: &str, change: Change, now_us: i64) -> Option<Nanos> {
        let (version, balance_after) =
            self.change_account(id, |account| account.credit(change.amount).then(|| (account.version, account.balance())))??;
        let book = match change.kind {
            CreditKind::Grant | CreditKind::Adjustment => journal::ADJUSTMENTS,
            CreditKind::Purchase | CreditKind::Refund => journal::CASH,
            CreditKind::Fee => journal::FEES,
            CreditKind::Expiry => journal::BREAKAGE,
        };
        self.effects.transactions.push(Transaction {
            id: change.id.clone(),
            fingerprint: change.fingerprint.clone(),
            account: id.to_owned(),
            version,
            kind: Kind::Credit(change.kind),
            amount: change.amount,
            balance_after,
            description: change.description.clone(),
            created_at_us: now_us,
            request: None,
            key_hash: None,
            lease: None,
            byok: None,
            posting: Posting { credit: change.amount, book: book.to_owned(), booked: Nanos(-change.amount.0), ..Posting::default() },
        });
        self.effects.facts.push(Fact::CreditPosted(CreditPosted {
            id: change.id,
            account: id.into(),
            kind: change.kind,
            amount_nanos: change.amount,
            description: change.description,
            content: change.fingerprint,
            grant: change.grant,
            taken_from: change.taken_from,
            version,
            posted_at_us: now_us,
        }));
        Some(balance_after)
    }
}
