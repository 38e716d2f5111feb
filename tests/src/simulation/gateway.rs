//! A gateway of a simulation. Local leases, budgets and refilling are the real ones; the spool survives a killed process; the clock
//! drifts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::request::{Format, Outcome};
use events::usage_recorded::UsageRecorded;
use events::{CostStatus, Nanos, Provenance, Tokens, UnitPrices};
use gateway::admission::budget::{Budget, Denied, Scope};
use gateway::admission::local_lease::{Hold, Moment};
use gateway::admission::refill_policy::{LeaseCall, RefillPolicy};
use ledger::posting::Charge;
use tokio::sync::oneshot::Receiver;

use super::log::Record;

/// A node, over all its boots.
pub struct Gateway {
    pub node: usize,
    pub is_up: bool,
    /// The number of the current boot, counted from 1.
    pub boot: u32,
    /// The time until which it does nothing at all.
    pub paused_until: u64,
    /// The time until which it reaches neither the ledger nor the log.
    pub cut_until: u64,
    /// The clock drift in microseconds per second.
    pub drift: i64,
    pub refillers: Vec<LeaseRefiller>,
    /// The spools of all boots; the last one belongs to the running boot.
    pub spools: Vec<Spool>,
    pub running: BTreeMap<u64, Running>,
}

/// A budget, its policy, and the lease request that is in flight.
pub struct LeaseRefiller {
    pub budget: Arc<Budget>,
    pub policy: RefillPolicy,
    pub call: Option<(u64, LeaseCall)>,
}

/// A request in flight.
pub struct Running {
    pub refiller: usize,
    pub least: Nanos,
    pub state: State,
}

pub enum State {
    /// The request waits for money.
    Waits(Receiver<Result<Hold, Denied>>),
    /// The request waits for the provider.
    Asked(Hold),
}

/// The events that one boot recorded.
pub struct Spool {
    pub source: String,
    /// Requests that have a start and no end, with their lease and hold.
    pub open: BTreeMap<u64, Start>,
    pub usage: Vec<Record>,
    /// The number of usage events that are sent, and the number that the ledger has read.
    pub sent: usize,
    pub watermark: u64,
    /// The log connection that `sent` refers to.
    pub connection: u64,
    pub is_over: bool,
}

/// The recorded start of a request.
#[derive(Debug, Clone)]
pub struct Start {
    pub account: String,
    pub key: String,
    pub lease: String,
    pub admitted_at_us: i64,
}

impl Gateway {
    /// Returns the readings of its clocks at a simulated time in microseconds.
    pub fn at(&self, base: Instant, now: u64) -> Moment {
        let drifted = now.saturating_add_signed(i64::try_from(now / 1_000_000).unwrap_or_default() * self.drift);
        let civil_us = super::EPOCH_US + i64::try_from(drifted).unwrap_or(i64::MAX);
        Moment { instant: base + Duration::from_micros(drifted), civil_us }
    }

    /// Begins a boot.
    pub fn start(&mut self, scopes: &[Scope], base: Instant, now: u64) {
        self.boot += 1;
        self.is_up = true;
        let source = format!("/gateway/{}/{}", self.node, self.boot);
        let at = self.at(base, now);
        self.refillers = scopes
            .iter()
            .map(|scope| {
                let budget = Arc::new(Budget::new(scope.clone()));
                LeaseRefiller { policy: RefillPolicy::new(Arc::clone(&budget), source.clone(), at.instant), budget, call: None }
            })
            .collect();
        self.spools.push(Spool { source, open: BTreeMap::new(), usage: Vec::new(), sent: 0, watermark: 0, connection: 0, is_over: false });
    }

    /// Ends the process. Its memory is lost; recorded requests are settled as the next boot settles them, as if nothing was relayed.
    pub fn die(&mut self) {
        self.is_up = false;
        self.running.clear();
        self.refillers.clear();
        if let Some(spool) = self.spools.last_mut() {
            for (request, start) in std::mem::take(&mut spool.open) {
                spool.charge(request, &start, Nanos::ZERO);
            }
            spool.is_over = true;
        }
    }

    pub fn spool(&mut self) -> &mut Spool {
        self.spools.last_mut().expect("a boot has a spool")
    }
}

impl Spool {
    /// Records the cost of a request.
    pub fn charge(&mut self, request: u64, start: &Start, cost: Nanos) {
        let sequence = self.usage.len() as u64 + 1;
        let usage = UsageRecorded {
            request: format!("r{request}").into(),
            key: start.key.as_str().into(),
            lease: start.lease.as_str().into(),
            model: String::new(),
            provider: String::new(),
            user: None,
            app: None,
            experiment: None,
            format: Format::Chat,
            streamed: false,
            outcome: Outcome::Finished,
            status: None,
            finish_reason: None,
            tokens: Tokens::default(),
            provenance: Provenance::Reported,
            price_version: String::new(),
            unit_prices: UnitPrices::default(),
            cost_status: CostStatus::Priced,
            cost_nanos: cost,
            beyond_hold_nanos: Nanos::ZERO,
            is_byok: false,
            byok: None,
            admitted_at_us: start.admitted_at_us,
            latency_us: 0,
            ttft_us: None,
            attempts: Vec::new(),
            skipped: Vec::new(),
        };
        let charge = Charge {
            event_id: format!("{}#{sequence}", self.source),
            account: start.account.clone(),
            fingerprint: format!("{request}:{}", cost.0),
            usage,
        };
        self.usage.push(Record { source: self.source.clone(), sequence, charge });
    }
}
