//! A charge: the remaining amount of a lease pays for it, then available credit, then the operator.

use std::collections::BTreeSet;

use events::Nanos;
use events::ledger::AccountPosted;
use events::usage::Byok;
use events::usage_recorded::UsageRecorded;
use sqlx::AnyConnection;

use crate::account;
use crate::decide;
use crate::journal::{self, Kind, Posting, Transaction};
use crate::key::Period;
use crate::key::repo::Window;
use crate::process::Ledger;

/// A charge that is not posted yet.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The id of the `usage.recorded` event.
    pub event_id: String,
    pub account: String,
    /// A hash of the content, which exposes the same id with other content.
    pub fingerprint: String,
    pub usage: UsageRecorded,
}

/// Posts charges: reads accounts, leases and windows once, changes them in memory, and writes them once.
///
/// # Errors
/// Returns `RowNotFound` if another process changed an account concurrently; the caller must roll back and retry.
pub async fn post(connection: &mut AnyConnection, ledger: &Ledger, charges: &[Charge]) -> Result<(), sqlx::Error> {
    let mut state = ledger.state();
    let accounts: Vec<&str> = charges.iter().map(|charge| charge.account.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    let leases: Vec<&str> = charges.iter().map(|charge| charge.usage.lease.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
    state.load_accounts(connection, &accounts).await?;
    for id in &accounts {
        if !state.accounts.contains_key(*id) {
            // The account's creation event travels in another stream and may arrive later; the charge must not wait for it.
            account::repo::upsert(connection, id, "", 0, 0).await?;
            state.load_account(connection, id).await?;
        }
    }
    state.load_grants(connection, &accounts).await?;
    state.load_leases(connection, &leases).await?;
    state.now_us = ledger.clock.now_us();
    for charge in charges {
        state.charge(charge);
    }
    state.save(connection, ledger).await
}

impl decide::State {
    pub(crate) fn charge(&mut self, charge: &Charge) {
        let usage = &charge.usage;
        let lease = self.leases.get(usage.lease.as_str()).filter(|lease| lease.account == charge.account).cloned();
        let (mut covered, mut limited) = (Nanos::ZERO, None);
        if let Some(mut lease) = lease {
            covered = lease.consume(usage.cost_nanos);
            limited.clone_from(&lease.window);
            self.put_lease(lease);
        }
        let charged = self.change_account(&charge.account, |account| {
            let paid = account.charge(usage.cost_nanos, covered);
            (paid, account.version, account.balance())
        });
        let Some((paid, version, balance_after)) = charged else { return };
        if paid.overdraft > Nanos::ZERO {
            tracing::error!(account = charge.account, request = %usage.request, overdraft_nanos = paid.overdraft.0, "a charge came after its lease was settled and found no credit: {} USD are the operator's loss", paid.overdraft);
        }
        let charged = paid.from_held.saturating_add(paid.from_available);
        let first = AccountPosted { account: charge.account.as_str().into(), first_version: version, events: Vec::new() };
        self.effects.posted.entry(charge.account.clone()).or_insert(first).events.push(charge.event_id.clone());
        self.burn(&charge.account, charged);
        let list = usage.counted_byok().map(|byok| byok.list_cost_nanos);
        for period in Period::ALL {
            // A limited key's money was lent within a window; the charge counts there, whatever time the request was admitted at.
            let lent_in = limited.as_ref().filter(|(key, of, _)| *of == period && key.as_str() == usage.key.as_str());
            let starts_at_us = lent_in.map_or_else(|| period.start_us(usage.admitted_at_us), |(_, _, starts_at_us)| *starts_at_us);
            let exempt = if usage.byok.as_ref().is_some_and(|byok| byok.is_outside_key_limit) { charged } else { Nanos::ZERO };
            let window = Window { spent: charged, held: Nanos::ZERO, exempt, byok: list.unwrap_or_default() };
            self.add_to_window((usage.key.to_string(), period, starts_at_us), window);
        }
        if let Some(window) = limited {
            self.add_to_window(window, Window { held: Nanos(-covered.0), ..Window::default() });
        }
        if let Some(byok) = usage.counted_byok() {
            self.count_byok(&charge.account, usage.admitted_at_us, byok);
        }
        self.effects.transactions.push(Transaction {
            id: charge.event_id.clone(),
            fingerprint: charge.fingerprint.clone(),
            account: charge.account.clone(),
            version,
            kind: Kind::Usage,
            amount: Nanos(-charged.0),
            balance_after,
            description: description(usage),
            created_at_us: usage.admitted_at_us.saturating_add_unsigned(usage.latency_us),
            request: Some(usage.request.to_string()),
            key_hash: Some(usage.key.to_string()),
            lease: Some(usage.lease.to_string()),
            byok: list,
            posting: Posting {
                credit: Nanos(-paid.from_available.0),
                held: Nanos(-paid.from_held.0),
                overdraft: Nanos(-paid.overdraft.0),
                book: journal::revenue(&charge.account),
                booked: usage.cost_nanos,
            },
        });
    }
}

impl decide::State {
    /// Counts a request with an own provider key in its month, and its list price in the windows of the provider key.
    fn count_byok(&mut self, account: &str, admitted_at_us: i64, byok: &Byok) {
        let month = (account.to_owned(), Period::Monthly.start_us(admitted_at_us));
        *self.effects.byok_months.entry(month).or_default() += 1;
        for period in Period::ALL {
            let id = (byok.provider_key.clone(), period, period.start_us(admitted_at_us));
            self.add_to_window(id, Window { byok: byok.list_cost_nanos, ..Window::default() });
        }
    }
}

fn description(usage: &UsageRecorded) -> String {
    format!("{} - {} input tokens, {} output tokens", usage.model, usage.tokens.prompt(), usage.tokens.completion())
}
