//! The fold of the ledger's own facts: reapplying them produces the same rows. It is pure, like the state.

use events::Nanos;
use events::ledger::{CreditKind, CreditPosted, LeaseChanged, UsagePosted};

use crate::credit::Change;
use crate::decide::{self, Fact};
use crate::grant::entity::{Grant, Origin};
use crate::key::Period;
use crate::lease::{Lease, State};
use crate::posting::Charge;

/// The reason why a fact does not fit the books.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// An earlier transaction is missing, or this one is applied already.
    #[error("{account} is at transaction {at}, and the log goes on with {log}")]
    Version {
        account: String,
        /// The number of the account's last transaction in the books.
        at: i64,
        /// The number of the next transaction in the log.
        log: i64,
    },
    /// The log lacks a usage event that the fact names.
    #[error("the usage event {0} was posted, and the log does not have it")]
    Usage(String),
    /// Reapplying the fact gives another result than the log states.
    #[error("lease {0} is not what the log says")]
    Lease(String),
}

impl decide::State {
    /// Reapplies a fact. The accounts, grants and leases that it concerns must be loaded, and `charge` must find every usage event that it
    /// names.
    ///
    /// # Errors
    /// Fails if the fact does not fit the loaded rows.
    pub fn replay<'c>(&mut self, fact: &Fact, charge: impl Fn(&str) -> Option<&'c Charge>) -> Result<(), Misfit> {
        match fact {
            Fact::CreditPosted(fact) => self.replay_credit(fact)?,
            Fact::LeaseChanged(fact) => self.replay_lease(fact)?,
            Fact::UsagePosted(fact) => self.replay_usage(fact, charge)?,
        }
        // These facts are in the log already.
        self.effects.facts.clear();
        self.effects.posted.clear();
        Ok(())
    }

    /// Checks that `version` is the number of the account's next transaction.
    fn expect(&self, account: &str, version: i64) -> Result<(), Misfit> {
        let at = self.accounts.get(account).map_or(0, |account| account.version);
        if at + 1 == version { Ok(()) } else { Err(Misfit::Version { account: account.to_owned(), at, log: version }) }
    }

    fn replay_credit(&mut self, fact: &CreditPosted) -> Result<(), Misfit> {
        let account = fact.account.as_str();
        self.expect(account, fact.version)?;
        let amount = fact.amount_nanos;
        match (&fact.grant, &fact.taken_from) {
            (Some(_), _) => {}
            (None, Some(grant)) => {
                self.take_from_grant(account, grant, Nanos(amount.0.saturating_neg()));
            }
            (None, None) => self.burn(account, Nanos(amount.0.saturating_neg())),
        }
        let change = Change {
            id: fact.id.clone(),
            kind: fact.kind,
            amount,
            description: fact.description.clone(),
            fingerprint: fact.content.clone(),
            grant: fact.grant,
            taken_from: fact.taken_from.clone(),
        };
        self.change_credit(account, change, fact.posted_at_us);
        if let Some(terms) = fact.grant {
            self.add_grant(Grant {
                id: fact.id.clone(),
                account: account.to_owned(),
                origin: if fact.kind == CreditKind::Purchase { Origin::Bought } else { Origin::Given },
                priority: terms.priority,
                expires_at_us: terms.expires_at_us,
                created_at_us: fact.posted_at_us,
                amount,
                remaining: amount,
            });
        }
        Ok(())
    }

    fn replay_lease(&mut self, fact: &LeaseChanged) -> Result<(), Misfit> {
        let new = || {
            let window = fact.window.as_ref().map(|window| (window.key.to_string(), Period::named(&window.period), window.starts_at_us));
            Lease::new(fact.lease.as_str(), fact.account.as_str(), window, &fact.holder)
        };
        let mut lease = self.leases.get(fact.lease.as_str()).cloned().unwrap_or_else(new);
        let (lent, back) = (fact.granted_nanos.saturating_sub(lease.granted), fact.returned_nanos.saturating_sub(lease.returned));
        let transactions = [lent, back].into_iter().filter(|amount| *amount != Nanos::ZERO).count();
        if transactions > 0 {
            self.expect(fact.account.as_str(), fact.version + 1 - i64::try_from(transactions).unwrap_or_default())?;
        }
        lease.returned = fact.returned_nanos;
        self.move_to_lease(&lease, Nanos(back.0.saturating_neg()), fact.changed_at_us);
        lease.granted = fact.granted_nanos;
        self.move_to_lease(&lease, lent, fact.changed_at_us);
        if lease.consumed != fact.consumed_nanos {
            return Err(Misfit::Lease(lease.id));
        }
        lease.state = fact.state;
        lease.expires_at_us = fact.changed_at_us + if fact.state == State::Frozen { self.terms.frozen_us() } else { self.terms.ttl_us() };
        self.put_lease(lease);
        Ok(())
    }

    fn replay_usage<'c>(&mut self, fact: &UsagePosted, charge: impl Fn(&str) -> Option<&'c Charge>) -> Result<(), Misfit> {
        for posted in &fact.accounts {
            for (version, event) in (posted.first_version..).zip(&posted.events) {
                self.expect(posted.account.as_str(), version)?;
                let charge = charge(event).ok_or_else(|| Misfit::Usage(event.clone()))?;
                self.charge(charge);
            }
        }
        Ok(())
    }
}
