//! A request that was admitted: it owns its hold and its place in the spool, and gives exactly one terminal event, even when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use events::clock::Clock;
use events::ids::Ids;
use events::request::{Attempt, Outcome, RequestFinished, RequestProgress, RequestStarted};
use events::usage_recorded::UsageRecorded;
use events::{CostStatus, Draft, Failpoint, Nanos, Provenance, RequestId, Tokens, UnitPrices, failpoint};
use pricing::ServiceTier;

use super::Admission;
use super::local_lease::Hold;
use super::quota::Slot;
use crate::config::SpoolMode;
use crate::meter::Measured;
use crate::metrics::Counts;
use crate::route::Model;
use crate::spool::{Reservation, Spool, SpoolError};

/// A request that was admitted.
pub struct Admitted {
    started: RequestStarted,
    /// Taken when the end is recorded.
    open: Option<(Hold, Reservation)>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    since: Instant,
    ttft_us: Option<u64>,
    /// Every try so far.
    attempts: Vec<Attempt>,
    /// The call that is under way, once one is.
    asked: Option<Asked>,
    mode: SpoolMode,
    /// Its share of what all requests may take.
    slot: Option<Slot>,
    counts: Counts,
}

/// A call to a provider whose answer is not here yet.
struct Asked {
    served: Served,
    /// Tokens of the prompt, estimated.
    prompt_tokens: u64,
    /// Whether bytes of it may have reached the provider.
    sent: Arc<AtomicBool>,
}

impl Asked {
    /// The use of a call that nobody waited for: the provider has the prompt, and bills it.
    fn abandoned(&self) -> Measured {
        if !self.sent.load(Ordering::Relaxed) {
            return Measured::UNKNOWN;
        }
        let tokens = Tokens { input: self.prompt_tokens, ..Tokens::default() };
        Measured { tokens, provenance: Provenance::Estimated }
    }
}

/// Who answered, and in which tier.
#[derive(Debug, Clone)]
pub struct Served {
    /// The model.
    pub model: Arc<Model>,
    /// The tier that prices apply for.
    pub tier: ServiceTier,
}

/// How a request ended.
#[derive(Debug)]
pub struct End {
    /// Which way.
    pub outcome: Outcome,
    /// The HTTP status that the client got.
    pub status: Option<u16>,
    /// The provider's finish reason.
    pub finish_reason: Option<String>,
    /// Who answered; none when nobody did.
    pub served: Option<Served>,
    /// What was used.
    pub measured: Measured,
}

/// What a request is charged.
#[derive(Debug, Clone, Copy)]
pub struct Charge {
    /// What was used.
    pub tokens: Tokens,
    /// What kind of cost it is.
    pub status: CostStatus,
    /// The charge.
    pub cost: Nanos,
    /// Beyond the hold; not charged.
    pub beyond: Nanos,
    /// From admission to the end.
    pub latency_us: u64,
    /// From admission to the first piece.
    pub ttft_us: Option<u64>,
}

impl Admitted {
    /// A request whose start is recorded.
    #[must_use]
    pub fn new(started: RequestStarted, (hold, reservation): (Hold, Reservation), slot: Option<Slot>, admission: &Admission) -> Self {
        Self {
            started,
            open: Some((hold, reservation)),
            clock: Arc::clone(&admission.clock),
            ids: Arc::clone(&admission.ids),
            since: Instant::now(),
            ttft_us: None,
            attempts: Vec::new(),
            asked: None,
            mode: admission.mode,
            slot,
            counts: admission.counts.clone(),
        }
    }

    /// The request.
    #[must_use]
    pub const fn request(&self) -> &RequestId {
        &self.started.request
    }

    /// What is set aside.
    #[must_use]
    pub fn hold(&self) -> Nanos {
        self.started.hold_nanos
    }

    /// When it was admitted, microseconds since 1970.
    #[must_use]
    pub const fn admitted_at_us(&self) -> i64 {
        self.started.admitted_at_us
    }

    /// A provider is about to be asked: once `sent`, the request may cost something.
    pub fn ask(&mut self, served: Served, prompt_tokens: u64, sent: Arc<AtomicBool>) {
        self.asked = Some(Asked { served, prompt_tokens, sent });
    }

    /// Counts what becomes of it.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Its share of what all requests may take.
    #[must_use]
    pub const fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    /// The body of the request is not kept any longer.
    pub fn release_body(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.release_bytes();
        }
    }

    /// Records that nobody waits any longer for the answer to a call that is under way. Its prompt is charged where it was sent.
    pub async fn abandon(self, outcome: Outcome, status: Option<u16>) -> Charge {
        let end = self.abandoned(outcome, status);
        self.finish(&end).await
    }

    fn abandoned(&self, outcome: Outcome, status: Option<u16>) -> End {
        let measured = self.asked.as_ref().map_or(Measured::UNKNOWN, Asked::abandoned);
        let is_sent = measured.provenance != Provenance::Unknown;
        let served = self.asked.as_ref().filter(|_| is_sent).map(|asked| asked.served.clone());
        End { outcome, status, finish_reason: None, served, measured }
    }

    /// A provider was tried.
    pub fn tried(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
    }

    /// The first piece of the answer is here.
    pub fn first_piece(&mut self) {
        self.ttft_us = Some(micros(self.since));
    }

    /// What these tokens cost at a model, within the hold: cost and what lies beyond.
    #[must_use]
    pub fn cost(&self, served: &Served, tokens: &Tokens) -> (Nanos, Nanos) {
        let prices = served.model.prices.at(tokens.prompt(), served.tier);
        let cost = pricing::cost(tokens, prices);
        let charged = cost.min(self.hold());
        (charged, cost.saturating_sub(charged))
    }

    /// Records that a stream still runs, with what it has cost so far.
    pub fn progress(&self, served: &Served, tokens: Tokens) {
        let Some((_, reservation)) = &self.open else { return };
        let progress = RequestProgress {
            request: self.started.request.clone(),
            model: served.model.id.clone(),
            provider: served.model.provider.slug.clone(),
            tokens,
            price_version: served.model.price_version.clone(),
            unit_prices: *served.model.prices.at(tokens.prompt(), served.tier),
            cost_nanos: self.cost(served, &tokens).0,
        };
        if let Err(error) = reservation.spool().append(|batch| batch.push(&self.draft(&progress))) {
            tracing::warn!(%error, "the progress of a stream is not recorded: {error}");
        }
        failpoint(Failpoint::ProgressWritten);
    }

    /// Records the end and settles the hold. The events are written when this returns, and synced to the disk in mode `strict`.
    pub async fn finish(mut self, end: &End) -> Charge {
        let (charge, recorded) = self.end(end);
        if let Some((spool, position)) = recorded {
            self.report(spool.flushed(position).await);
            failpoint(Failpoint::EndWritten);
            if self.mode == SpoolMode::Strict {
                spool.synced(position).await;
            }
        }
        charge
    }

    /// The same without waiting for anybody: the events are written when this returns.
    pub fn finish_now(mut self, end: &End) {
        self.end_now(end);
    }

    fn end_now(&mut self, end: &End) {
        if let (_, Some((spool, position))) = self.end(end) {
            self.report(spool.flush(position));
        }
    }

    /// Nothing is lost as long as the process lives: what the disk did not take is written when it does.
    fn report(&self, written: Result<(), SpoolError>) {
        if let Err(error) = written {
            let request = &self.started.request;
            tracing::error!(%error, %request, "the end of request {request} waits in memory, since the disk does not take it: {error}");
        }
    }

    fn end(&mut self, end: &End) -> (Charge, Option<(Arc<Spool>, u64)>) {
        let latency_us = micros(self.since);
        let (status, (cost, beyond)) = self.charged(end);
        let charge = Charge { tokens: end.measured.tokens, status, cost, beyond, latency_us, ttft_us: self.ttft_us };
        let Some((hold, reservation)) = self.open.take() else { return (charge, None) };
        let finished = self.finished(end, latency_us);
        let usage = self.asked.is_some().then(|| self.usage(end, &charge));
        let spool = reservation.spool();
        let position = reservation.end(|batch| {
            // The end comes last: after a torn write, what has no end is settled again, and what is charged already is not.
            if let Some(usage) = &usage {
                batch.push(&self.draft(usage));
            }
            batch.push(&self.draft(&finished));
        });
        failpoint(Failpoint::EndRecorded);
        hold.settle(cost);
        self.counts.ended(end.outcome, self.ttft_us);
        (charge, Some((spool, position)))
    }

    fn charged(&self, end: &End) -> (CostStatus, (Nanos, Nanos)) {
        let nothing = (Nanos::ZERO, Nanos::ZERO);
        let Some(served) = &end.served else { return (CostStatus::Waived, nothing) };
        if served.model.free {
            return (CostStatus::Free, nothing);
        }
        // A provider that failed is paid only what it says itself; what nobody knows is not charged.
        let is_charged = match end.outcome {
            Outcome::Failed => end.measured.provenance == Provenance::Reported,
            Outcome::Finished | Outcome::Cancelled | Outcome::Aborted => end.measured.provenance != Provenance::Unknown,
        };
        if is_charged { (CostStatus::Priced, self.cost(served, &end.measured.tokens)) } else { (CostStatus::Waived, nothing) }
    }

    fn finished(&mut self, end: &End, latency_us: u64) -> RequestFinished {
        RequestFinished {
            request: self.started.request.clone(),
            key: self.started.key.clone(),
            model: end.served.as_ref().map_or_else(|| self.started.model.clone(), |served| served.model.id.clone()),
            outcome: end.outcome,
            status: end.status,
            finish_reason: end.finish_reason.clone(),
            admitted_at_us: self.started.admitted_at_us,
            latency_us,
            ttft_us: self.ttft_us,
            attempts: std::mem::take(&mut self.attempts),
        }
    }

    fn usage(&self, end: &End, charge: &Charge) -> UsageRecorded {
        let model = end.served.as_ref().or(self.asked.as_ref().map(|asked| &asked.served)).map(|served| &served.model);
        UsageRecorded {
            request: self.started.request.clone(),
            key: self.started.key.clone(),
            lease: self.started.lease.clone(),
            model: model.map_or_else(|| self.started.model.clone(), |model| model.id.clone()),
            provider: model.map_or_else(String::new, |model| model.provider.slug.clone()),
            user: self.started.user.clone(),
            app: self.started.app.clone(),
            format: self.started.format,
            streamed: self.started.streamed,
            outcome: end.outcome,
            status: end.status,
            finish_reason: end.finish_reason.clone(),
            tokens: end.measured.tokens,
            provenance: end.measured.provenance,
            price_version: model.map_or_else(String::new, |model| model.price_version.clone()),
            unit_prices: end
                .served
                .as_ref()
                .map_or_else(UnitPrices::default, |served| *served.model.prices.at(end.measured.tokens.prompt(), served.tier)),
            cost_status: charge.status,
            cost_nanos: charge.cost,
            beyond_hold_nanos: charge.beyond,
            admitted_at_us: self.started.admitted_at_us,
            latency_us: charge.latency_us,
            ttft_us: charge.ttft_us,
        }
    }

    fn draft<'a, P>(&'a self, payload: &'a P) -> Draft<'a, P> {
        Draft {
            id: self.ids.uuid(&*self.clock),
            time_us: self.clock.now_us(),
            account: self.started.account.as_str(),
            subject: self.started.request.as_str(),
            traceparent: None,
            payload,
        }
    }
}

impl Drop for Admitted {
    /// Dropped without an end: the client left, or it was never sent.
    fn drop(&mut self) {
        if self.open.is_some() {
            let outcome = if self.asked.is_some() { Outcome::Cancelled } else { Outcome::Aborted };
            let end = self.abandoned(outcome, None);
            self.end_now(&end);
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
