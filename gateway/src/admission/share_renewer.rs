//! The renewer of this gateway's shares of rate limits: it calls the ledger once a second, and sooner if a share is short.
//!
//! One call is under way at a time. It renews all shares at once, and names only those that change. A share is lowered here before the
//! call, and raised after the reply, so a lost message leaves a part of the limit unused and never lets more pass.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use eventlog::rpc;
use events::rpc::{RenewShares, SHARES_LAST_MS, SharesRenewed};
use tokio_util::sync::CancellationToken;

use super::limit::{Exceeded, Place};
use super::local_share::SharedWindow;
use super::rate_limits::{RateLimits, Sharing};

/// The longest wait for a reply of the ledger.
const RPC_TIMEOUT: Duration = Duration::from_secs(3);
/// The wait for the reply to the last call of a gateway that stops.
const LAST_TIMEOUT: Duration = Duration::from_millis(500);
/// The interval between calls.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// The interval between calls while some gateway lacks something.
const CONTENDED_EVERY: Duration = Duration::from_millis(250);
/// The shortest time between two calls.
const CALLS_APART: Duration = Duration::from_millis(10);
/// The interval between searches for shares that nothing uses.
const UNUSED_EVERY: Duration = Duration::from_secs(5);
/// The time before the ledger takes the shares of a silent gateway at which it stops using them, in milliseconds.
const STOP_EARLY_MS: u64 = 1_000;
/// The most changes of one call.
const ASKS_MAX: usize = 256;
/// The longest wait of a request for a larger share.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The task that renews the shares.
pub struct ShareRenewer {
    limits: Arc<RateLimits>,
    ledger: rpc::Client,
    /// The event source of this boot.
    holder: String,
    sequence: u64,
    /// The limits of which this gateway holds a share at the ledger, by name.
    held: HashMap<String, Place>,
}

/// Takes from a limit; waits for a larger share of this gateway while the ledger may have one.
///
/// # Errors
/// Returns the last error of `take`.
pub(super) async fn with_share<T>(limits: &RateLimits, mut take: impl FnMut() -> Result<T, Exceeded>) -> Result<T, Exceeded> {
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    loop {
        let Some(sharing) = &limits.sharing else { return take() };
        let mut answered = std::pin::pin!(sharing.answered.notified());
        answered.as_mut().enable();
        match take() {
            Err(exceeded) if exceeded.is_open => {
                if tokio::time::timeout_at(deadline, answered).await.is_err() {
                    return Err(exceeded);
                }
            }
            taken => return taken,
        }
    }
}

impl ShareRenewer {
    #[must_use]
    pub fn new(limits: &Arc<RateLimits>, ledger: rpc::Client, holder: String) -> Self {
        Self { limits: Arc::clone(limits), ledger, holder, sequence: 0, held: HashMap::new() }
    }

    /// Renews the shares until `stop`, then gives back what is not used. Returns at once if this gateway is the only one.
    pub async fn run(mut self, stop: CancellationToken) {
        let limits = Arc::clone(&self.limits);
        let Some(sharing) = &limits.sharing else { return };
        let mut searched_at = Instant::now();
        let mut pause = RENEW_EVERY;
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sharing.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.lapse(sharing);
            if searched_at.elapsed() >= UNUSED_EVERY {
                searched_at = Instant::now();
                self.queue_unused(sharing);
            }
            pause = self.renew(sharing).await;
            tokio::time::sleep(CALLS_APART).await;
        }
        self.give_back().await;
    }

    fn now_ms(&self) -> u64 {
        self.limits.now_ms(Instant::now())
    }

    /// Gives up all shares if they were not renewed in time, and asks for them anew.
    fn lapse(&self, sharing: &Sharing) {
        if self.held.is_empty() || self.now_ms() < sharing.valid_until_ms.load(Ordering::Acquire) {
            return;
        }
        for place in self.held.values() {
            let is_new = self.limits.at(place, |window| {
                window.lapse();
                window.queue()
            });
            if is_new {
                sharing.lock().push(place.clone());
            }
        }
    }

    fn queue_unused(&self, sharing: &Sharing) {
        let now_ms = self.now_ms();
        for place in self.held.values() {
            if self.limits.at(place, |window| window.is_unused(now_ms) && window.queue()) {
                sharing.lock().push(place.clone());
            }
        }
    }

    /// Makes one call; returns the time after which to make the next one.
    async fn renew(&mut self, sharing: &Sharing) -> Duration {
        let (places, is_rest) = {
            let mut queue = sharing.lock();
            let count = queue.len().min(ASKS_MAX);
            (queue.drain(..count).collect::<Vec<_>>(), !queue.is_empty())
        };
        if places.is_empty() && self.held.is_empty() {
            return RENEW_EVERY;
        }
        let (sent, now_ms) = (Instant::now(), self.now_ms());
        self.sequence += 1;
        let asks = places.iter().map(|place| self.limits.at(place, |window| window.ask(place.name(), now_ms))).collect();
        let call = RenewShares { holder: self.holder.clone(), sequence: self.sequence, asks };
        for (place, ask) in places.iter().zip(&call.asks) {
            self.held.insert(ask.limit.clone(), place.clone());
        }
        let reply = self.ledger.call(&call, RPC_TIMEOUT).await;
        let is_contended = match reply {
            Ok(reply) if reply.is_applied => {
                let until_ms = self.limits.now_ms(sent).saturating_add(SHARES_LAST_MS - STOP_EARLY_MS);
                let is_contended = self.apply(sharing, &places, &call, &reply);
                sharing.valid_until_ms.store(until_ms, Ordering::Release);
                is_contended
            }
            Ok(_) | Err(_) => {
                // The shares that the call lowered stay low; the next call repeats it.
                for place in &places {
                    self.queue(sharing, place);
                }
                tokio::time::sleep(CONTENDED_EVERY).await;
                true
            }
        };
        sharing.answered.notify_waiters();
        match (is_rest, is_contended) {
            (true, _) => Duration::ZERO,
            (false, true) => CONTENDED_EVERY,
            (false, false) => RENEW_EVERY,
        }
    }

    fn queue(&self, sharing: &Sharing, place: &Place) {
        if self.limits.at(place, SharedWindow::queue) {
            sharing.lock().push(place.clone());
        }
    }

    /// Notes the granted shares; returns whether some limit is contended.
    fn apply(&mut self, sharing: &Sharing, places: &[Place], call: &RenewShares, reply: &SharesRenewed) -> bool {
        let now_ms = self.now_ms();
        let mut is_contended = false;
        for ((place, ask), shared) in places.iter().zip(&call.asks).zip(&reply.shares) {
            self.limits.at(place, |window| window.answered(*shared, now_ms));
            if shared.share == 0 && ask.needs == 0 {
                self.held.remove(&ask.limit);
                self.limits.at(place, SharedWindow::lapse);
                continue;
            }
            if shared.target.is_some() {
                is_contended = true;
                self.queue(sharing, place);
            }
        }
        for limit in &reply.contended {
            if let Some(place) = self.held.get(limit) {
                is_contended = true;
                self.limits.at(place, SharedWindow::contend);
                self.queue(sharing, place);
            }
        }
        is_contended
    }

    /// Gives back what was not used within the windows, in as many calls as fit in a short time.
    async fn give_back(mut self) {
        let all: Vec<Place> = self.held.values().cloned().collect();
        for places in all.chunks(ASKS_MAX) {
            self.sequence += 1;
            let now_ms = self.now_ms();
            let asks = places.iter().map(|place| self.limits.at(place, |window| window.give_back(place.name(), now_ms))).collect();
            let call = RenewShares { holder: self.holder.clone(), sequence: self.sequence, asks };
            if self.ledger.call(&call, LAST_TIMEOUT).await.is_err() {
                return;
            }
        }
    }
}
