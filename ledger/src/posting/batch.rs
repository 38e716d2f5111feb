//! A batch of charges in one transaction: accounts, leases and windows are read once, changed in memory, written once.

use std::collections::BTreeMap;

use events::Nanos;
use events::usage_recorded::UsageRecorded;
use sqlx::AnyConnection;

use crate::account::{self, Account};
use crate::books::{self, Kind, Movement};
use crate::key::repo::WindowId;
use crate::key::{self, Period};
use crate::lease::{self, Lease, State, settle};
use crate::process::Ledger;

/// A charge that is not posted yet.
#[derive(Debug)]
pub struct Charge {
    /// The event's id.
    pub event_id: String,
    /// Whose money.
    pub account: String,
    /// What tells the same id with other content.
    pub content_hash: String,
    /// What was used.
    pub usage: UsageRecorded,
}

/// What a batch reads, changes and writes.
#[derive(Default)]
pub struct Batch {
    accounts: BTreeMap<String, (i64, Account)>,
    leases: BTreeMap<String, (State, Lease)>,
    windows: BTreeMap<WindowId, (Nanos, Nanos)>,
    movements: Vec<Movement>,
}

impl Batch {
    /// Posts charges.
    ///
    /// # Errors
    /// When the database is away, or somebody else moved an account meanwhile: nothing of it may stand then.
    pub async fn post(connection: &mut AnyConnection, ledger: &Ledger, charges: &[Charge]) -> Result<(), sqlx::Error> {
        let mut batch = Self::default();
        for charge in charges {
            batch.load(connection, charge).await?;
            batch.charge(charge);
        }
        batch.save(connection, ledger).await
    }

    async fn load(&mut self, connection: &mut AnyConnection, charge: &Charge) -> Result<(), sqlx::Error> {
        if !self.accounts.contains_key(&charge.account) {
            if account::repo::find(connection, &charge.account).await?.is_none() {
                // Its creation travels in another stream and may come later; the charge must not wait for it.
                account::repo::upsert(connection, &charge.account, "", 0, 0).await?;
            }
            let account = account::repo::find(connection, &charge.account).await?.ok_or(sqlx::Error::RowNotFound)?;
            self.accounts.insert(charge.account.clone(), (account.version, account));
        }
        let lease = charge.usage.lease.as_str();
        if !self.leases.contains_key(lease)
            && let Some(found) = lease::repo::find(connection, lease).await?
        {
            self.leases.insert(lease.to_owned(), (found.state, found));
        }
        Ok(())
    }

    fn charge(&mut self, charge: &Charge) {
        let Some((_, account)) = self.accounts.get_mut(&charge.account) else { return };
        let usage = &charge.usage;
        let lease = self.leases.get_mut(usage.lease.as_str()).map(|(_, lease)| lease).filter(|lease| lease.account == charge.account);
        let (covered, limited) = lease.map_or((Nanos::ZERO, None), |lease| (lease.consume(usage.cost_nanos), lease.window.clone()));
        let paid = account.charge(usage.cost_nanos, covered);
        if paid.overdraft > Nanos::ZERO {
            tracing::error!(account = account.id, request = %usage.request, overdraft_nanos = paid.overdraft.0, "a charge came after its lease was settled and found no credit: {} USD are the operator's loss", paid.overdraft);
        }
        let charged = paid.from_held.saturating_add(paid.from_available);
        for period in Period::ALL {
            let id = (usage.key.to_string(), period, period.start_us(usage.admitted_at_us));
            let (spent, _) = self.windows.entry(id).or_default();
            *spent = spent.saturating_add(charged);
        }
        if let Some(window) = limited {
            let (_, held) = self.windows.entry(window).or_default();
            *held = held.saturating_sub(covered);
        }
        self.movements.push(Movement {
            id: charge.event_id.clone(),
            content_hash: charge.content_hash.clone(),
            account: account.id.clone(),
            version: account.version,
            kind: Kind::Usage,
            amount: Nanos(-charged.0),
            balance_after: account.balance(),
            description: description(usage),
            created_at_us: usage.admitted_at_us.saturating_add_unsigned(usage.latency_us),
            request: Some(usage.request.to_string()),
            key_hash: Some(usage.key.to_string()),
            lease: Some(usage.lease.to_string()),
            legs: vec![
                (books::held(&account.id), Nanos(-paid.from_held.0)),
                (books::credit(&account.id), Nanos(-paid.from_available.0)),
                (books::LATE_OVERDRAFT.to_owned(), Nanos(-paid.overdraft.0)),
                (books::revenue(&account.id), usage.cost_nanos),
            ],
        });
    }

    async fn save(self, connection: &mut AnyConnection, ledger: &Ledger) -> Result<(), sqlx::Error> {
        for (before, account) in self.accounts.values() {
            account::repo::save(connection, account, *before).await?;
        }
        for (id, (spent, held)) in &self.windows {
            key::repo::add(connection, id, *spent, *held).await?;
        }
        books::write(connection, &self.movements).await?;
        for (before, lease) in self.leases.values() {
            lease::repo::save(connection, lease).await?;
            if lease.state == State::Closed && *before != State::Closed {
                settle::announce_closed(connection, ledger, lease).await?;
            }
        }
        Ok(())
    }
}

fn description(usage: &UsageRecorded) -> String {
    format!("{} - {} input tokens, {} output tokens", usage.model, usage.tokens.prompt(), usage.tokens.completion())
}
