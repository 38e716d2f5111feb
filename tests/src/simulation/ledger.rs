//! The ledger of a simulation: the real decisions on a database in memory, whose commits may fail.

use std::collections::{BTreeMap, BTreeSet};

use eventlog::Checkpoint;
use eventlog::share::frontier::{Chain, Position};
use eventlog::sources::Seen;
use events::Nanos;
use events::rpc::{LeaseReply, LeaseRequest};
use ledger::account::Account;
use ledger::decide::{self, Command, Fact, OtherLeases, Reply};
use ledger::grant::Grants;
use ledger::journal::{Kind, Transaction};
use ledger::key::repo::{KeyRow, Window, WindowId};
use ledger::lease::{Lease, State};
use ledger::posting::{Charge, Known};

use super::log::Record;

/// The committed state.
#[derive(Clone, Default)]
pub struct Database {
    pub accounts: BTreeMap<String, Account>,
    pub grants: BTreeMap<String, Grants>,
    /// Leases that are not closed.
    live: BTreeMap<String, Lease>,
    closed: BTreeMap<String, Lease>,
    pub windows: BTreeMap<WindowId, Window>,
    pub keys: BTreeMap<String, KeyRow>,
    pub transactions: Vec<Transaction>,
    pub known: Known,
    pub seen: BTreeMap<String, Seen>,
    pub checkpoint: Option<Checkpoint>,
    /// The identity of the log's history up to the checkpoint; used if ledgers share the log.
    pub chain: Chain,
    /// The ledgers that share the log: the heartbeat counter and the position of each.
    pub members: BTreeMap<String, (i64, Position)>,
    /// The owner of each partition.
    pub owners: BTreeMap<i64, String>,
    pub rejected: Vec<String>,
    /// The published facts.
    pub facts: Vec<Fact>,
    /// The posted charges, by event.
    charges: BTreeMap<String, Charge>,
}

impl Database {
    /// Handles a request about a lease.
    pub fn ask(&mut self, ask: &LeaseRequest, now_us: i64) -> LeaseReply {
        let mut state = self.state_of([ask.account.as_str()], [ask.lease.as_str()]);
        state.keys = self.keys.clone();
        let window = state.leases.get(ask.lease.as_str()).map_or_else(
            || {
                ask.key
                    .as_ref()
                    .and_then(|hash| self.keys.get(hash.as_str()).map(|row| (hash.to_string(), row.period, row.period.start_us(now_us))))
            },
            |lease| lease.window.clone(),
        );
        state.other_leases = self.other_leases(ask, window.as_ref());
        state.windows.extend(window.and_then(|id| self.windows.get(&id).map(|window| (id.clone(), *window))));
        let reply = state.apply(&Command::Lease(ask.clone()), now_us);
        self.commit(&state);
        match reply {
            Reply::Lease(answer) => answer,
            Reply::Credit(_) | Reply::Done => unreachable!("a request about a lease is answered with a lease"),
        }
    }

    fn other_leases(&self, ask: &LeaseRequest, window: Option<&WindowId>) -> OtherLeases {
        let others = || self.live.values().filter(|lease| lease.account == ask.account.as_str() && lease.id != ask.lease.as_str());
        let holders: BTreeSet<&str> =
            others().filter(|lease| lease.state == State::Open && lease.holder != ask.holder).map(|lease| lease.holder.as_str()).collect();
        OtherLeases {
            holders: i64::try_from(holders.len()).unwrap_or(i64::MAX),
            unposted: others().map(Lease::unposted).sum(),
            unposted_in_window: others().filter(|lease| window.is_none() || lease.window.as_ref() == window).map(Lease::unposted).sum(),
        }
    }

    /// Grants credit.
    pub fn credit(&mut self, command: &events::rpc::PostCredit, now_us: i64) {
        let mut state = self.state_of([command.account.as_str()], []);
        state.apply(&Command::Credit(command.clone()), now_us);
        self.commit(&state);
    }

    /// Freezes and settles expired leases, and expires grants.
    pub fn sweep(&mut self, now_us: i64) {
        let over: BTreeMap<_, _> =
            self.live.iter().filter(|(_, lease)| lease.expires_at_us < now_us).map(|(id, lease)| (id.clone(), lease.clone())).collect();
        if !over.is_empty() {
            let mut state = decide::State { accounts: self.accounts.clone(), leases: over, ..decide::State::default() };
            state.apply(&Command::Sweep, now_us);
            self.commit(&state);
        }
        let due = |grants: &Grants| grants.iter().any(|grant| grant.is_expired(now_us));
        let due: Vec<String> = self.grants.iter().filter(|(_, grants)| due(grants)).map(|(id, _)| id.clone()).collect();
        if !due.is_empty() {
            let mut state = self.state_of(due.iter().map(String::as_str), []);
            state.apply(&Command::Expire, now_us);
            self.commit(&state);
        }
    }

    /// Settles the leases of a boot that has ended. Returns false while some of its usage is not posted.
    pub fn close_source(&mut self, source: &str, last_usage: u64, now_us: i64) -> bool {
        if self.seen.get(source).map_or(0, |seen| seen.watermark) < last_usage {
            return false;
        }
        let mut state = decide::State { accounts: self.accounts.clone(), ..decide::State::default() };
        state.leases =
            self.live.iter().filter(|(_, lease)| lease.holder == source).map(|(id, lease)| (id.clone(), lease.clone())).collect();
        state.apply(&Command::Close, now_us);
        self.commit(&state);
        true
    }

    /// Posts a batch that was read from a checkpoint. Returns false if another reader has moved the checkpoint.
    pub fn post(&mut self, batch: &[Record], from: Option<&Checkpoint>, to: Checkpoint) -> bool {
        if self.checkpoint.as_ref() != from {
            return false;
        }
        self.post_part(batch);
        for record in batch {
            self.seen.entry(record.source.clone()).or_default().note(record.sequence);
        }
        self.checkpoint = Some(to);
        true
    }

    /// Posts the charges of a batch that are not posted yet.
    pub fn post_part(&mut self, batch: &[Record]) {
        let mut fresh: Vec<&Charge> = Vec::new();
        for record in batch {
            match self.known.admit(&record.charge) {
                Ok(true) => fresh.push(&record.charge),
                Ok(false) => {}
                Err(reason) => self.rejected.push(reason),
            }
        }
        let accounts = fresh.iter().map(|charge| charge.account.as_str());
        let mut state = self.state_of(accounts, fresh.iter().map(|charge| charge.usage.lease.as_str()));
        for charge in fresh {
            state.apply(&Command::Charge(Box::new(charge.clone())), 0);
            self.charges.insert(charge.event_id.clone(), charge.clone());
        }
        self.commit(&state);
    }

    fn lease(&self, id: &str) -> Option<&Lease> {
        self.live.get(id).or_else(|| self.closed.get(id))
    }

    /// Returns whether no lease is open.
    pub fn is_at_rest(&self) -> bool {
        self.live.is_empty()
    }

    fn state_of<'a>(&self, accounts: impl IntoIterator<Item = &'a str>, leases: impl IntoIterator<Item = &'a str>) -> decide::State {
        let accounts: BTreeMap<_, _> =
            accounts.into_iter().filter_map(|id| Some((id.to_owned(), self.accounts.get(id)?.clone()))).collect();
        let grants = accounts.keys().filter_map(|id| Some((id.clone(), self.grants.get(id)?.clone()))).collect();
        let leases = leases.into_iter().filter_map(|id| Some((id.to_owned(), self.lease(id)?.clone())));
        decide::State { accounts, grants, leases: leases.collect(), ..decide::State::default() }
    }

    /// Commits as the real database does: if any version has changed, nothing is written.
    fn commit(&mut self, state: &decide::State) {
        let effects = &state.effects;
        for (id, before) in &effects.accounts {
            assert_eq!(self.accounts[id].version, *before, "an account moved under a transaction");
            self.accounts.insert(id.clone(), state.accounts[id].clone());
        }
        for grant in effects.grants.values() {
            let others = self.grants.remove(&grant.account).unwrap_or_default();
            let others = others.iter().filter(|other| other.id != grant.id).cloned();
            let all = others.chain((grant.remaining > Nanos::ZERO).then(|| grant.clone()));
            self.grants.insert(grant.account.clone(), Grants::new(all.collect()));
        }
        for (id, more) in &effects.windows {
            self.windows.entry(id.clone()).or_default().add(*more);
        }
        for id in &effects.leases {
            let lease = state.leases[id].clone();
            if lease.state == State::Closed {
                self.live.remove(id);
                self.closed.insert(id.clone(), lease);
            } else {
                self.live.insert(id.clone(), lease);
            }
        }
        self.transactions.extend(effects.transactions.iter().cloned());
        self.facts.extend(effects.facts());
        self.check();
    }

    /// Checks the invariants of every committed state.
    pub fn check(&self) {
        for account in self.accounts.values() {
            let Account { id, available, held, spent, credited, .. } = account;
            assert_eq!(available.0 + held.0 + spent.0, credited.0, "{id}: available + held + spent is not what was credited");
            assert!(available.0 >= 0 && held.0 >= 0 && spent.0 >= 0, "{id} is negative: {account:?}");
            let granted = self.grants.get(id).map_or(Nanos::ZERO, Grants::remaining);
            assert_eq!(granted, account.balance(), "{id}: its balance is not what is left of its grants");
            let lent: i64 = self.live.values().filter(|lease| lease.account == *id).map(|lease| lease.remaining().0).sum();
            assert_eq!(lent, held.0, "{id}: its leases hold {lent}, its account says {held}");
        }
        for ((key, period, _), window) in &self.windows {
            assert!(window.held.0 >= 0 && window.spent.0 >= 0, "{key}: a window is negative: {window:?}");
            if let Some(KeyRow { limit: Some(limit), period: limited, .. }) = self.keys.get(key)
                && period == limited
            {
                assert!(window.spent.0 + window.held.0 <= limit.0, "{key} is over its limit: {window:?} of {limit}");
            }
        }
    }

    /// Checks the invariants of the final state: books fold to balances, and histories have no gap.
    pub fn check_books(&self) {
        let mut folded: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        let mut overdraft = 0;
        let mut versions: BTreeMap<&str, i64> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for transaction in &self.transactions {
            assert!(ids.insert(&transaction.id), "{} is booked twice", transaction.id);
            assert_eq!(transaction.posting.sum(), 0, "{} does not sum to zero", transaction.id);
            let (credit, held) = folded.entry(&transaction.account).or_default();
            *credit += transaction.posting.credit.0;
            *held += transaction.posting.held.0;
            overdraft += transaction.posting.overdraft.0;
            let version = versions.entry(&transaction.account).or_default();
            *version += 1;
            assert_eq!(*version, transaction.version, "{}: a gap in the history", transaction.account);
        }
        for (id, account) in &self.accounts {
            let balance = (account.available.0, account.held.0);
            assert_eq!(folded.get(id.as_str()).copied().unwrap_or_default(), balance, "{id}: a balance is not the fold");
        }
        assert_eq!(overdraft, 0, "somebody spent what was not there");
        assert!(self.rejected.is_empty(), "{:?}", self.rejected);
        let open: Vec<&Lease> = self.live.values().chain(self.closed.values()).filter(|lease| lease.remaining() > Nanos::ZERO).collect();
        assert!(open.is_empty(), "still lent: {open:?}");
        assert!(self.windows.values().all(|window| window.held == Nanos::ZERO), "a window still holds something");
    }

    /// Checks that the published facts, replayed from an empty state, give the same books.
    pub fn check_rebuilt(&self) {
        let nothing = |account: &Account| Account { id: account.id.clone(), ..Account::default() };
        let accounts = self.accounts.values().map(|account| (account.id.clone(), nothing(account))).collect();
        let mut state = decide::State { accounts, ..decide::State::default() };
        for fact in &self.facts {
            if let Err(misfit) = state.replay(fact, |id| self.charges.get(id)) {
                panic!("{misfit} at {fact:?}");
            }
        }
        let in_order = |transactions: &[Transaction]| {
            let mut all = transactions.to_vec();
            all.sort_by(|a, b| (&a.account, a.version).cmp(&(&b.account, b.version)));
            all
        };
        assert_eq!(in_order(&state.effects.transactions), in_order(&self.transactions), "rebuilt transactions");
        assert_eq!(state.accounts, self.accounts, "rebuilt accounts");
        assert_eq!(state.windows, self.windows, "rebuilt windows");
        let left = |grants: &BTreeMap<String, Grants>| grants.values().flat_map(|grants| grants.iter().cloned()).collect::<Vec<_>>();
        assert_eq!(left(&state.grants), left(&self.grants), "rebuilt grants");
        // Interim figures of a gateway are not published, because its next request contains them again.
        let lasting = |lease: &Lease| Lease { spent: Nanos::ZERO, expires_at_us: 0, ..lease.clone() };
        let mut leases: Vec<Lease> = self.live.values().chain(self.closed.values()).map(lasting).collect();
        leases.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(state.leases.values().map(lasting).collect::<Vec<_>>(), leases, "rebuilt leases");
    }

    /// Returns the charge of each request.
    pub fn charges(&self) -> BTreeMap<String, i64> {
        let mut charges = BTreeMap::new();
        for transaction in self.transactions.iter().filter(|transaction| transaction.kind == Kind::Usage) {
            let request = transaction.request.clone().expect("usage has a request");
            assert!(charges.insert(request.clone(), -transaction.amount.0).is_none(), "{request} is charged twice");
        }
        charges
    }
}
