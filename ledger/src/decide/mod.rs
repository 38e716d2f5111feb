//! The state: the rows that one command concerns, the decisions about them, and what comes of these. Pure: no I/O, no clock, no
//! randomness. The process loads rows into a state, steps, and saves what changed in one transaction; a simulator does the same in
//! memory.

pub mod rows;

use std::collections::{BTreeMap, BTreeSet};

use events::ledger::{AccountPosted, CreditPosted, LeaseChanged, LeaseWindow, UsagePosted};
use events::rpc::{CreditReply, LeaseReply, LeaseRequest, PostCredit};
use events::{AccountId, Nanos};

use crate::account::Account;
use crate::grant::{Grant, Grants};
use crate::journal::{Kind, Posting, Transaction};
use crate::key::repo::{KeyRow, Window, WindowId};
use crate::lease::{Lease, Terms};
use crate::posting::Charge;

/// What the ledger can be told.
#[derive(Debug, Clone)]
pub enum Command {
    /// A gateway asks about a lease.
    Lease(LeaseRequest),
    /// A request was charged.
    Charge(Box<Charge>),
    /// Credit comes or goes other than by usage; the account's grants are loaded.
    Credit(PostCredit),
    /// Grants loaded whose time is over go to breakage.
    Expire,
    /// A boot of a gateway is over and all its usage is posted: its leases, all of them loaded, are settled.
    Close,
    /// Leases whose time is over, all of them loaded, are frozen or settled.
    Sweep,
}

/// What whoever told it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// About a lease.
    Lease(LeaseReply),
    /// About credit.
    Credit(CreditReply),
    /// Nothing.
    Done,
}

/// The rows that a command concerns, changed in place, and what comes of the change.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Accounts by id.
    pub accounts: BTreeMap<String, Account>,
    /// What is left of each account's grants, by account, where the command may spend.
    pub grants: BTreeMap<String, Grants>,
    /// Leases by id.
    pub leases: BTreeMap<String, Lease>,
    /// Keys by hash.
    pub keys: BTreeMap<String, KeyRow>,
    /// Windows of keys; one that is not here was never used.
    pub windows: BTreeMap<WindowId, Window>,
    /// What the account that asks has besides the lease it asks about.
    pub other_leases: OtherLeases,
    /// What comes of it.
    pub effects: Effects,
    /// The time of the step, microseconds since 1970.
    pub now_us: i64,
    /// What credit is lent on.
    pub terms: Terms,
}

/// Sums over the live leases of an account besides the one that is asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OtherLeases {
    /// Gateways that hold open leases, besides the one that asks.
    pub holders: i64,
    /// What ended requests have cost that is not posted yet.
    pub unposted: Nanos,
    /// The same in the window of the key that asks.
    pub unposted_in_window: Nanos,
}

/// What a step changes and says.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Accounts that changed, and the version each was read at.
    pub accounts: BTreeMap<String, i64>,
    /// Grants that came or changed, as they are now.
    pub grants: BTreeMap<String, Grant>,
    /// Leases that changed.
    pub leases: BTreeSet<String>,
    /// What is added to windows: spent and held.
    pub windows: BTreeMap<WindowId, (Nanos, Nanos)>,
    /// Movements of money.
    pub transactions: Vec<Transaction>,
    /// Facts for the log, but for the next.
    pub facts: Vec<Fact>,
    /// Charges for the log, by account.
    pub posted: BTreeMap<String, AccountPosted>,
}

impl Effects {
    /// What the log is told, in an order in which it can be done again.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        let posted = UsagePosted { accounts: self.posted.values().cloned().collect() };
        (!posted.accounts.is_empty()).then_some(Fact::UsagePosted(posted)).into_iter().chain(self.facts.iter().cloned())
    }
}

/// A fact for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A lease was opened, grew, shrank or moved on in its life.
    LeaseChanged(LeaseChanged),
    /// Credit came or went.
    CreditPosted(CreditPosted),
    /// Usage was charged.
    UsagePosted(UsagePosted),
}

impl Fact {
    /// Whose money.
    #[must_use]
    pub fn accounts(&self) -> Vec<&AccountId> {
        match self {
            Self::LeaseChanged(fact) => vec![&fact.account],
            Self::CreditPosted(fact) => vec![&fact.account],
            Self::UsagePosted(fact) => fact.accounts.iter().map(|posted| &posted.account).collect(),
        }
    }

    /// The usage events that it names.
    pub fn usage(&self) -> impl Iterator<Item = &str> {
        let posted = match self {
            Self::UsagePosted(fact) => fact.accounts.as_slice(),
            Self::LeaseChanged(_) | Self::CreditPosted(_) => &[],
        };
        posted.iter().flat_map(|posted| &posted.events).map(String::as_str)
    }
}

impl State {
    /// Takes a command at a time, microseconds since 1970. Everything that it concerns must be loaded.
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

    /// Changes an account that is loaded; the version it was read at is kept for the save.
    pub(crate) fn change_account<T>(&mut self, id: &str, change: impl FnOnce(&mut Account) -> T) -> Option<T> {
        let account = self.accounts.get_mut(id)?;
        if !self.effects.accounts.contains_key(id) {
            self.effects.accounts.insert(id.to_owned(), account.version);
        }
        Some(change(account))
    }

    /// Keeps credit that came in.
    pub(crate) fn add_grant(&mut self, grant: Grant) {
        self.effects.grants.insert(grant.id.clone(), grant.clone());
        self.grants.entry(grant.account.clone()).or_default().add(grant);
    }

    /// Takes spent credit from an account's grants in their order.
    pub(crate) fn burn(&mut self, account: &str, amount: Nanos) {
        let changed = self.grants.get_mut(account).map(|grants| grants.burn(amount)).unwrap_or_default();
        self.effects.grants.extend(changed.into_iter().map(|grant| (grant.id.clone(), grant)));
    }

    /// Takes up to an amount from one grant; gives back how much.
    pub(crate) fn take_from_grant(&mut self, account: &str, id: &str, most: Nanos) -> Nanos {
        let Some((taken, grant)) = self.grants.get_mut(account).and_then(|grants| grants.take(id, most)) else { return Nanos::ZERO };
        self.effects.grants.insert(grant.id.clone(), grant);
        taken
    }

    /// Puts a lease back into the state as it is now, behind the transactions of its money; what has changed but for consumption is told.
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

    /// Adds to a window; negative amounts take away.
    pub(crate) fn add_to_window(&mut self, id: WindowId, spent: Nanos, held: Nanos) {
        let window = self.windows.entry(id.clone()).or_default();
        window.spent = window.spent.saturating_add(spent);
        window.held = window.held.saturating_add(held);
        let (more_spent, more_held) = self.effects.windows.entry(id).or_default();
        *more_spent = more_spent.saturating_add(spent);
        *more_held = more_held.saturating_add(held);
    }

    /// Moves credit into a lease, or back when the amount is negative.
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
            self.add_to_window(window.clone(), Nanos::ZERO, amount);
        }
        self.effects.transactions.push(Transaction {
            // An account's versions never come again.
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
            posting: Posting { credit: Nanos(-amount.0), held: amount, ..Posting::default() },
        });
    }
}
