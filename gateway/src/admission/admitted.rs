//! The state of an admitted request: it owns its hold and its room in the spool, and records exactly one terminal event, even if it is
//! dropped.

mod charge;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use events::clock::Clock;
use events::ids::Ids;
use events::request::{Attempt, Experiment, Outcome, RequestFinished, RequestProgress, RequestStarted, SkippedEndpoint};
use events::usage_recorded::UsageRecorded;
use events::{Draft, Failpoint, Nanos, Provenance, RequestId, Tokens, UnitPrices, failpoint};
use pricing::ServiceTier;
use routing::{Why, health};

use super::Admission;
use super::allowance::Ticket;
use super::current_attempt::{Access, CurrentAttempt, micros};
use super::in_flight_quota::Slot;
use super::local_lease::Hold;
use crate::config::SpoolMode;
use crate::meter::Measured;
use crate::metrics::Counts;
use crate::route::choice::{CachedPrompt, Skipped, skipped};
use crate::route::own_keys::OwnKey;
use crate::route::reports::Reports;
use crate::route::split::Split;
use crate::route::{Endpoint, Plan};
use crate::spool::{Reservation, Spool, SpoolError};

pub use charge::Charge;

/// The maximum number of attempts, and of excluded endpoints, that a request's end names.
const NAMED_MAX: usize = 20;

/// An admitted request that records its own end.
pub struct Admitted {
    started: RequestStarted,
    /// The hold and the room in the spool; taken as the end is recorded.
    open: Option<(Hold, Reservation)>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    since: Instant,
    ttft_us: Option<u64>,
    /// The attempts at providers so far.
    attempts: Vec<Attempt>,
    /// The endpoints that did not fit the request.
    skipped: Vec<SkippedEndpoint>,
    /// The model with weighted variants that the request names.
    experiment: Option<Arc<Split>>,
    /// The prompt, if a provider may cache it.
    prompt: Option<CachedPrompt>,
    /// The call to a provider in progress, or the last one.
    current: Option<CurrentAttempt>,
    mode: SpoolMode,
    /// The request's share of the quotas.
    slot: Option<Slot>,
    /// The place among the requests with own provider keys; `None` if none may be used.
    ticket: Option<Ticket>,
    /// Whether the fee for an own provider key does not count towards the limit of the caller's key.
    is_outside_key_limit: bool,
    counts: Counts,
    /// The place where changes of breakers are told.
    reports: Reports,
}

/// The model that answered, and the service tier.
#[derive(Debug, Clone)]
pub struct Served {
    /// The model at the provider that answered.
    pub endpoint: Arc<Endpoint>,
    /// The tier whose prices apply.
    pub tier: ServiceTier,
    /// The account's own provider key that was used; `None` for the operator's credential.
    pub own: Option<Arc<OwnKey>>,
}

/// The end of a request.
#[derive(Debug)]
pub struct End {
    pub outcome: Outcome,
    /// The HTTP status that the client received.
    pub status: Option<u16>,
    pub finish_reason: Option<String>,
    /// The model that answered; `None` if none did.
    pub served: Option<Served>,
    /// The measured usage.
    pub measured: Measured,
}

impl Admitted {
    /// Creates the state of a request whose start is recorded.
    #[must_use]
    pub fn new(
        started: RequestStarted,
        (hold, reservation): (Hold, Reservation),
        (slot, ticket): (Option<Slot>, Option<Ticket>),
        (plan, is_outside_key_limit): (&Plan, bool),
        admission: &Admission,
    ) -> Self {
        Self {
            started,
            open: Some((hold, reservation)),
            clock: Arc::clone(&admission.clock),
            ids: Arc::clone(&admission.ids),
            since: Instant::now(),
            ttft_us: None,
            attempts: Vec::new(),
            skipped: plan.skipped.iter().take(NAMED_MAX).map(Skipped::recorded).collect(),
            experiment: plan.experiment.clone(),
            prompt: plan.prompt.clone(),
            current: None,
            mode: admission.mode,
            slot,
            ticket,
            is_outside_key_limit,
            counts: admission.counts.clone(),
            reports: admission.reports.clone(),
        }
    }

    #[must_use]
    pub const fn request(&self) -> &RequestId {
        &self.started.request
    }

    /// Returns the amount that is held for the request.
    #[must_use]
    pub fn hold(&self) -> Nanos {
        self.started.hold_nanos
    }

    /// Returns whether own provider keys cost the request no fee.
    #[must_use]
    pub fn is_free_with_own(&self) -> bool {
        self.ticket.as_ref().is_some_and(|ticket| ticket.is_free)
    }

    /// Returns the time of admission, in microseconds since 1970.
    #[must_use]
    pub const fn admitted_at_us(&self) -> i64 {
        self.started.admitted_at_us
    }

    /// Notes that a provider is about to be called; once `sent` is set, the request may cost something.
    pub fn start_attempt(&mut self, served: Served, prompt_tokens: u64, sent: Arc<AtomicBool>, access: Access) {
        self.current = Some(CurrentAttempt { served, prompt_tokens, sent, since: Instant::now(), ttft_us: None, access });
    }

    /// Returns the time in microseconds since 1970.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns the request's share of the quotas.
    #[must_use]
    pub const fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    /// Releases the quota of the request's body, which is no longer kept in memory.
    pub fn release_body(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.release_bytes();
        }
    }

    /// Records that the response of the call in progress is no longer awaited. The prompt is charged if it was sent.
    pub async fn abandon(self, outcome: Outcome, status: Option<u16>) -> Charge {
        let end = self.abandoned(outcome, status);
        self.finish(&end).await
    }

    fn abandoned(&self, outcome: Outcome, status: Option<u16>) -> End {
        let measured = self.current.as_ref().map_or(Measured::UNKNOWN, CurrentAttempt::abandoned);
        let is_sent = measured.provenance != Provenance::Unknown;
        let served = self.current.as_ref().filter(|_| is_sent).map(|current| current.served.clone());
        End { outcome, status, finish_reason: None, served, measured }
    }

    /// Notes an attempt at a provider. `failure` is its result for the health of the endpoint, if it failed.
    pub fn tried(&mut self, attempt: Attempt, failure: Option<health::Outcome>) {
        self.attempts.push(attempt);
        let now_us = self.clock.now_us();
        if let Some((current, outcome)) = self.current.as_mut().zip(failure) {
            current.failed((now_us, &self.reports), outcome);
        }
    }

    /// Notes endpoints that were not tried, because their breaker lets nothing through.
    pub fn left_alone<'a>(&mut self, endpoints: impl Iterator<Item = &'a Endpoint>) {
        let room = NAMED_MAX.saturating_sub(self.skipped.len());
        self.skipped.extend(endpoints.take(room).map(|endpoint| skipped(endpoint, Why::Broken.as_str())));
    }

    /// Notes that the first piece of the response has arrived.
    pub fn first_piece(&mut self) {
        self.ttft_us = Some(micros(self.since));
        if let Some(current) = &mut self.current {
            current.ttft_us = Some(micros(current.since)).filter(|_| self.started.streamed);
        }
    }

    /// Records that a stream is still running, with its cost so far.
    pub fn progress(&self, served: &Served, tokens: Tokens) {
        let Some((_, reservation)) = &self.open else { return };
        let cost = self.cost(served, &tokens).0;
        let progress = RequestProgress {
            request: self.started.request.clone(),
            model: served.endpoint.model.id.clone(),
            provider: served.endpoint.provider.slug.clone(),
            tokens,
            price_version: served.endpoint.price_version.clone(),
            unit_prices: *served.endpoint.prices.at(tokens.prompt(), served.tier),
            cost_nanos: cost,
            byok: self.byok(served, Self::list(served, &tokens), cost),
        };
        if let Err(error) = reservation.spool().append(|batch| batch.push(&self.draft(&progress))) {
            tracing::warn!(%error, "the progress of a stream is not recorded: {error}");
        }
        failpoint(Failpoint::ProgressWritten);
    }

    /// Records the end and settles the hold. On return the events are written, and in mode `strict` they are also synced to the disk.
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

    /// Records the end like [`Self::finish`], but synchronously and without a sync.
    pub fn finish_now(mut self, end: &End) {
        self.end_now(end);
    }

    fn end_now(&mut self, end: &End) {
        if let (_, Some((spool, position))) = self.end(end) {
            self.report(spool.flush(position));
        }
    }

    /// Logs a failed write. Nothing is lost as long as the process lives: the events stay in memory until the disk accepts them.
    fn report(&self, written: Result<(), SpoolError>) {
        if let Err(error) = written {
            let request = &self.started.request;
            tracing::error!(%error, %request, "the end of request {request} waits in memory, since the disk does not take it: {error}");
        }
    }

    fn end(&mut self, end: &End) -> (Charge, Option<(Arc<Spool>, u64)>) {
        let latency_us = micros(self.since);
        let amounts = self.charged(end);
        let (status, cost, beyond) = (amounts.status, amounts.cost, amounts.beyond);
        let byok = self.last_served(end).is_some_and(|served| served.own.is_some()).then_some(amounts.list);
        let charge = Charge { tokens: end.measured.tokens, status, cost, beyond, byok, latency_us, ttft_us: self.ttft_us };
        let Some((hold, reservation)) = self.open.take() else { return (charge, None) };
        self.count_byok(end, amounts);
        self.note_result(end);
        self.attempts.truncate(NAMED_MAX);
        let usage = self.current.is_some().then(|| self.usage(end, &charge));
        let finished = self.finished(end, latency_us);
        let spool = reservation.spool();
        let position = reservation.end(|batch| {
            // The end comes last. After a torn write, a request without an end is settled again, and an existing charge is not repeated.
            if let Some(usage) = &usage {
                batch.push(&self.draft(usage));
            }
            batch.push(&self.draft(&finished));
        });
        failpoint(Failpoint::EndRecorded);
        hold.settle(cost);
        if let Some(slot) = &mut self.slot {
            slot.settle_tokens(end.measured.tokens.total());
        }
        self.counts.ended(end.outcome, self.ttft_us);
        (charge, Some((spool, position)))
    }

    /// Records the end of the call that answered in the health of its endpoint, and remembers that it has the prompt in its cache.
    fn note_result(&mut self, end: &End) {
        let now = (self.clock.now_us(), &self.reports);
        let Some(current) = self.current.as_mut().filter(|_| end.served.is_some()) else { return };
        let tokens = &end.measured.tokens;
        match end.outcome {
            Outcome::Finished => current.record(now, health::Outcome::Succeeded, tokens.completion()),
            Outcome::Failed => current.record(now, health::Outcome::Failed, 0),
            Outcome::Cancelled | Outcome::Aborted => {}
        }
        if let Some(prompt) = self.prompt.as_ref().filter(|_| tokens.cache_read > 0 || tokens.cache_write() > 0) {
            prompt.is_at(now.0, &current.served.endpoint);
        }
    }

    /// Returns what answered, or else was called last.
    fn last_served<'a>(&'a self, end: &'a End) -> Option<&'a Served> {
        end.served.as_ref().or(self.current.as_ref().map(|current| &current.served))
    }

    fn finished(&mut self, end: &End, latency_us: u64) -> RequestFinished {
        RequestFinished {
            request: self.started.request.clone(),
            key: self.started.key.clone(),
            model: end.served.as_ref().map_or_else(|| self.started.model.clone(), |served| served.endpoint.model.id.clone()),
            outcome: end.outcome,
            status: end.status,
            finish_reason: end.finish_reason.clone(),
            admitted_at_us: self.started.admitted_at_us,
            latency_us,
            ttft_us: self.ttft_us,
            attempts: std::mem::take(&mut self.attempts),
            skipped: std::mem::take(&mut self.skipped),
            experiment: self.variant(end.served.as_ref().map(|served| &*served.endpoint)),
        }
    }

    /// Returns the variant that an endpoint serves, or the drawn one if none answered.
    fn variant(&self, endpoint: Option<&Endpoint>) -> Option<Experiment> {
        let split = self.experiment.as_ref()?;
        endpoint.map_or_else(|| self.started.experiment.clone(), |endpoint| split.experiment(&endpoint.model.id))
    }

    fn usage(&self, end: &End, charge: &Charge) -> UsageRecorded {
        let served = self.last_served(end);
        let endpoint = served.map(|served| &served.endpoint);
        UsageRecorded {
            request: self.started.request.clone(),
            key: self.started.key.clone(),
            lease: self.started.lease.clone(),
            model: endpoint.map_or_else(|| self.started.model.clone(), |endpoint| endpoint.model.id.clone()),
            provider: endpoint.map_or_else(String::new, |endpoint| endpoint.provider.slug.clone()),
            user: self.started.user.clone(),
            app: self.started.app.clone(),
            experiment: self.variant(endpoint.map(|endpoint| &**endpoint)),
            format: self.started.format,
            streamed: self.started.streamed,
            outcome: end.outcome,
            status: end.status,
            finish_reason: end.finish_reason.clone(),
            tokens: end.measured.tokens,
            provenance: end.measured.provenance,
            price_version: endpoint.map_or_else(String::new, |endpoint| endpoint.price_version.clone()),
            unit_prices: end
                .served
                .as_ref()
                .map_or_else(UnitPrices::default, |served| *served.endpoint.prices.at(end.measured.tokens.prompt(), served.tier)),
            cost_status: charge.status,
            cost_nanos: charge.cost,
            beyond_hold_nanos: charge.beyond,
            is_byok: charge.byok.is_some(),
            byok: served.and_then(|served| self.byok(served, charge.byok.unwrap_or_default(), charge.cost)),
            admitted_at_us: self.started.admitted_at_us,
            latency_us: charge.latency_us,
            ttft_us: charge.ttft_us,
            attempts: self.attempts.clone(),
            skipped: self.skipped.clone(),
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
    /// Records the end of a request that is dropped without one: the client left, or the request was never sent.
    fn drop(&mut self) {
        if self.open.is_some() {
            let outcome = if self.current.is_some() { Outcome::Cancelled } else { Outcome::Aborted };
            let end = self.abandoned(outcome, None);
            self.end_now(&end);
        }
    }
}
