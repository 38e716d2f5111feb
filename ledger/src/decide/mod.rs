//! The state of one step: the rows that a command concerns, the decisions about them, and their effects.
//! It is pure: no I/O, no clock, no randomness. The process loads rows into a state, applies a command, and saves the changes in one
//! transaction. A simulator does the same in memory.

pub mod rows;

use std::collections::{BTreeMap, BTreeSet};

use events::ledger::{AccountPosted, CreditPosted, LeaseChanged, LeaseWindow, UsagePosted};
use events::rpc::{CreditReply, LeaseReply, LeaseRequest, PostCredit};
use events::{AccountId, Nanos};

use crate::account::Account;
use crate::byok::MonthId;
use crate::credit::billing::Billing;
use crate::grant::{Grant, Grants};
use crate::journal::{Kind, Posting, Transaction};
use crate::key::repo::{KeyRow, Window, WindowId};
use crate::lease::{Lease, Terms};
use crate::posting::Charge;

/// A command to the ledger.
#[derive(Debug, Clone)]
pub enum Command {
    /// A gateway's request about a lease.
    Lease(LeaseRequest),
    /// The charge of a request.
    Charge(Box<Charge>),
    /// A change of credit other than by usage; the account's grants must be loaded.
    Credit(PostCredit),
    /// Moves expired grants, of those loaded, to the book `breakage`.
    Expire,
    /// Settles all leases of a gateway's boot that is over and has all its usage posted; all its leases must be loaded.
    Close,
    /// Freezes or settles leases whose time is over; all of them must be loaded.
    Sweep,
}

/// The reply to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Lease(LeaseReply),
    Credit(CreditReply),
    Done,
}

/// The rows that a command concerns, changed in place, and the effects of the change.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Accounts by id.
    pub accounts: BTreeMap<String, Account>,
    /// Grants with something left, by account; loaded only if the command may spend.
    pub grants: BTreeMap<String, Grants>,
    /// Leases by id.
    pub leases: BTreeMap<String, Lease>,
    /// Keys by hash.
    pub keys: BTreeMap<String, KeyRow>,
    /// Windows of keys; a missing one was never used.
    pub windows: BTreeMap<WindowId, Window>,
    /// The sums over the account's other leases.
    pub other_leases: OtherLeases,
    pub effects: Effects,
    /// The time of the step, in microseconds since 1970.
    pub now_us: i64,
    /// The terms on which credit is lent.
    pub terms: Terms,
    /// The terms of purchases.
    pub billing: Billing,
}

/// The sums over an account's live leases, except the one that the request concerns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OtherLeases {
    /// The number of gateways that hold open leases, except the one that made the request.
    pub holders: i64,
    /// The cost of ended requests that is not posted yet.
    pub unposted: Nanos,
    /// The same in the window of the requesting key.
    pub unposted_in_window: Nanos,
}

/// The changes and facts of a step.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Changed accounts, and the version at which each was read.
    pub accounts: BTreeMap<String, i64>,
    /// New and changed grants in their current state.
    pub grants: BTreeMap<String, Grant>,
    /// Changed leases.
    pub leases: BTreeSet<String>,
    /// Amounts to add to windows.
    pub windows: BTreeMap<WindowId, Window>,
    /// Requests with own provider keys to add to months.
    pub byok_months: BTreeMap<MonthId, i64>,
    pub transactions: Vec<Transaction>,
    /// Facts to publish, except charges.
    pub facts: Vec<Fact>,
    /// Charges to publish, by account.
    pub posted: BTreeMap<String, AccountPosted>,
}

impl Effects {
    /// Returns the facts to publish, in an order in which they can be reapplied.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        let posted = UsagePosted { accounts: self.posted.values().cloned().collect() };
        (!posted.accounts.is_empty()).then_some(Fact::UsagePosted(posted)).into_iter().chain(self.facts.iter().cloned())
    }
}

/// A fact that the ledger publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// The opening of a lease, or a change of its amounts or state.
    LeaseChanged(LeaseChanged),
    /// A change of credit other than by usage.
    CreditPosted(CreditPosted),
    /// Posted charges.
    UsagePosted(UsagePosted),
}

impl Fact {
    /// Returns the accounts whose money the fact changes.
    #[must_use]
    pub fn accounts(&self) -> Vec<&AccountId> {
        match self {
            Self::LeaseChanged(fact) => vec![&fact.account],
            Self::CreditPosted(fact) => vec![&fact.account],
            Self::UsagePosted(fact) => fact.accounts.iter().map(|posted| &posted.account).collect(),
        }
    }

    /// Returns the ids of the usage events that the fact names.
    pub fn usage(&self) -> impl Iterator<Item = &str> {
        let posted = match self {
            Self::UsagePosted(fact) => fact.accounts.as_slice(),
            Self::LeaseChanged(_) | Self::CreditPosted(_) => &[],
        };
        posted.iter().flat_map(|posted| &posted.events).map(String::as_str)
    }
}

impl State {
    /// Applies a command at a time in microseconds since 1970. All rows that it concerns must be loaded.
    pub fn apply(&mut self, command: &Command, now_us: i64) -> Reply {
        self.now_us = now_us;
        match command {
            Command::Lease(request) => Reply::Lease(self.lease(request, now_us)),
            Command::Charge(charge) => {
                self.charge(charge);
                Reply::Done
            }
            Command::Credit(command) => Reply::Credit(self.credit(command, now_us)),
            Command::Expire => {
                self.expire(now_us);
                Reply::Done
            }
            Command::Close => {
                self.close(now_us);
                Reply::Done
            }
            Command::Sweep => {
                self.sweep(now_us);
                Reply::Done
            }
        }
    }

    /// Changes a loaded account; keeps the version at which it was read, for the save.
    pub(crate) fn change_account<T>(&mut self, id: &str, change: impl FnOnce(&mut Account) -> T) -> Option<T> {
        let account = self.accounts.get_mut(id)?;
        if !self.effects.accounts.contains_key(id) {
            self.effects.accounts.insert(id.to_owned(), account.version);
        }
        Some(change(account))
    }

    /// Adds a new grant.
    pub(crate) fn add_grant(&mut self, grant: Grant) {
        self.effects.grants.insert(grant.id.clone(), grant.clone());
        self.grants.entry(grant.account.clone()).or_default().add(grant);
    }

    /// Spends an amount from an account's grants in their order.
    pub(crate) fn burn(&mut self, account: &str, amount: Nanos) {
        let changed = self.grants.get_mut(account).map(|grants| grants.burn(amount)).unwrap_or_default();
        self.effects.grants.extend(changed.into_iter().map(|grant| (grant.id.clone(), grant)));
    }

    /// Takes at most `most` from one grant; returns the amount taken.
    pub(crate) fn take_from_grant(&mut self, account: &str, id: &str, most: Nanos) -> Nanos {
        let Some((taken, grant)) = self.grants.get_mut(account).and_then(|grants| grants.take(id, most)) else { return Nanos::ZERO };
        self.effects.grants.insert(grant.id.clone(), grant);
        taken
    }

    /// Stores a changed lease; the transactions that move its money must come before. Publishes the change unless only the consumed amount
    /// differs.
    pub(crate) fn put_lease(&mut self, lease: Lease) {
        let facts_of = |lease: &Lease| (lease.state, lease.granted, lease.returned);
        if self.leases.get(&lease.id).map(facts_of) != Some(facts_of(&lease)) {
            self.effects.facts.push(Fact::LeaseChanged(LeaseChanged {
                lease: lease.id.as_str().into(),
                account: lease.account.as_str().into(),
                holder: lease.holder.clone(),
                window: lease.window.as_ref().map(|(key, period, starts_at_us)| LeaseWindow {
                    key: key.as_str().into(),
                    period: period.as_str().to_owned(),
                    starts_at_us: *starts_at_us,
                }),
                state: lease.state,
                granted_nanos: lease.granted,
                consumed_nanos: lease.consumed,
                returned_nanos: lease.returned,
                version: self.accounts.get(&lease.account).map_or(0, |account| account.version),
                changed_at_us: self.now_us,
            }));
        }
        if !self.effects.leases.contains(&lease.id) {
            self.effects.leases.insert(lease.id.clone());
        }
        self.leases.insert(lease.id.clone(), lease);
    }

    /// Adds amounts to a window; negative amounts subtract.
    pub(crate) fn add_to_window(&mut self, id: WindowId, more: Window) {
        self.windows.entry(id.clone()).or_default().add(more);
        self.effects.windows.entry(id).or_default().add(more);
    }

    /// Moves credit into a lease, or back to the account if the amount is negative.
    pub(crate) fn move_to_lease(&mut self, lease: &Lease, amount: Nanos, now_us: i64) {
        if amount == Nanos::ZERO {
            return;
        }
        let is_grant = amount > Nanos::ZERO;
        let moved = self.change_account(&lease.account, |account| {
            if is_grant {
                account.lend(amount);
            } else {
                account.take_back(Nanos(-amount.0));
            }
            (account.version, account.balance())
        });
        let Some((version, balance_after)) = moved else { return };
        if let Some(window) = &lease.window {
            self.add_to_window(window.clone(), Window { held: amount, ..Window::default() });
        }
        self.effects.transactions.push(Transaction {
            // An account's version never repeats, so the id is unique.
            id: format!("{}/{version}", lease.id),
            fingerprint: String::new(),
            account: lease.account.clone(),
            version,
            kind: if is_grant { Kind::LeaseGranted } else { Kind::LeaseReturned },
            amount: Nanos::ZERO,
            balance_after,
            description: String::new(),
            created_at_us: now_us,
            request: None,
            key_hash: None,
            lease: Some(lease.id.clone()),
            byok: None,
            posting: Posting { credit: Nanos(-amount.0), held: amount, ..Posting::default() },
        });
    }
}
