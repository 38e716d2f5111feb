//! Quotas: limits on the memory and work in flight, for one account and for all accounts together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use events::AccountId;
use events::control::Key;
use events::request::RequestRefused;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rate_headers::RateHeaders;
use super::rate_limits::{RateLimits, RateShare};
use super::share_renewer;
use crate::config::LimitsConfig;
use crate::error::{GatewayError, Quota};

/// The seconds' worth of the rate that an account may use in one burst.
const BURST_S: u32 = 4;
/// The number of accounts with remembered rates above which idle ones are dropped.
const RATES_MAX: usize = 4_096;

/// The quotas, with the usage of all requests in flight on this gateway.
pub struct Quotas {
    pub limits: LimitsConfig,
    /// The limits on requests and tokens in a time.
    pub rate_limits: Arc<RateLimits>,
    all: Share,
    accounts: Mutex<HashMap<AccountId, Arc<Share>>>,
    counts: Arc<Semaphore>,
    rates: Mutex<HashMap<AccountId, Rates>>,
}

/// The usage in flight of one account, or of all accounts.
#[derive(Debug, Default)]
struct Share {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    counts: AtomicUsize,
}

/// The rates of an account's actions that consume shared resources.
struct Rates {
    /// The key changes that are allowed now, in thousandths of a change.
    changes: u64,
    counted_at: Instant,
    /// The refusals recorded since `second_at`.
    recorded: u32,
    second_at: Instant,
    /// The first refusal that was only counted, and the number of counted refusals.
    skipped: Option<(RequestRefused, u64)>,
}

/// The part of the quotas that one request uses; it is released on drop.
pub struct Slot {
    quotas: Arc<Quotas>,
    account: AccountId,
    share: Arc<Share>,
    bytes: usize,
    /// The request's part of the rate limits, and the headers that tell of them.
    rate: Option<(RateShare, Arc<RateHeaders>)>,
}

/// A prompt that is being counted; its quota is released on drop.
pub struct Counting {
    share: Arc<Share>,
    _permit: OwnedSemaphorePermit,
}

/// Adds to a counter unless the sum exceeds the limit; returns whether it was added.
fn take(counter: &AtomicUsize, amount: usize, most: usize) -> bool {
    let added = |taken: usize| taken.checked_add(amount).filter(|sum| *sum <= most);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added).is_ok()
}

impl Quotas {
    /// Creates the quotas with nothing in flight. `is_shared` tells whether other gateways may serve the same accounts.
    #[must_use]
    pub fn new(limits: LimitsConfig, is_shared: bool) -> Arc<Self> {
        let counts = Arc::new(Semaphore::new(limits.token_counts_max.max(1)));
        let rate_limits = RateLimits::new(&limits, is_shared);
        Arc::new(Self { limits, rate_limits, all: Share::default(), accounts: Mutex::default(), counts, rates: Mutex::default() })
    }

    /// Takes a slot for one request of an account.
    ///
    /// # Errors
    /// Returns 429 if the account has reached its limit, 503 if the gateway has.
    pub fn request(self: &Arc<Self>, account: &AccountId) -> Result<Slot, GatewayError> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let share = match accounts.get(account) {
            Some(share) => Arc::clone(share),
            None => Arc::clone(accounts.entry(account.clone()).or_default()),
        };
        let is_own = !take(&share.requests, 1, self.limits.requests_in_flight_per_account_max);
        if is_own || !take(&self.all.requests, 1, self.limits.requests_in_flight_max) {
            if !is_own && share.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
                accounts.remove(account);
            }
            return Err(GatewayError::Busy { quota: Quota::Requests, is_own });
        }
        drop(accounts);
        Ok(Slot { quotas: Arc::clone(self), account: account.clone(), share, bytes: 0, rate: None })
    }

    /// Returns the limit on an account's requests for free models in a day.
    #[must_use]
    pub const fn free_per_day(&self, has_bought: bool) -> Option<u64> {
        let limits = &self.limits;
        if has_bought { limits.free_requests_per_day_after_purchase.0 } else { limits.free_requests_per_day.0 }
    }

    /// Returns the number of requests in flight and the bytes of their bodies.
    #[must_use]
    pub fn in_flight(&self) -> (usize, usize) {
        (self.all.requests.load(Ordering::Relaxed), self.all.bytes.load(Ordering::Relaxed))
    }

    /// Counts a change of an account's keys.
    ///
    /// # Errors
    /// Returns 429 if the account changes its keys too often.
    pub fn change_key(&self, account: &AccountId) -> Result<(), GatewayError> {
        let (rate, now) = (u64::from(self.limits.key_changes_per_second), Instant::now());
        let most = rate * 1_000 * u64::from(BURST_S);
        let mut all = self.rates();
        let rates = all.entry(account.clone()).or_insert_with(|| Rates::new(most, now));
        let earned = u64::try_from(now.saturating_duration_since(rates.counted_at).as_millis()).unwrap_or(u64::MAX).saturating_mul(rate);
        rates.changes = rates.changes.saturating_add(earned).min(most);
        rates.counted_at = now;
        match rates.changes.checked_sub(1_000) {
            Some(left) => rates.changes = left,
            None => return Err(GatewayError::Busy { quota: Quota::KeyChanges, is_own: true }),
        }
        Ok(())
    }

    /// Returns whether a refusal of an account is recorded as its own event; otherwise it is only counted.
    pub fn refusal(&self, account: &AccountId, refused: impl FnOnce() -> RequestRefused) -> bool {
        let (limit, now) = (self.limits.refusals_recorded_per_second, Instant::now());
        let most = u64::from(self.limits.key_changes_per_second) * 1_000 * u64::from(BURST_S);
        let mut all = self.rates();
        let rates = all.entry(account.clone()).or_insert_with(|| Rates::new(most, now));
        if now.saturating_duration_since(rates.second_at).as_secs() >= 1 {
            rates.second_at = now;
            rates.recorded = 0;
        }
        if rates.recorded < limit {
            rates.recorded += 1;
            return true;
        }
        match &mut rates.skipped {
            Some((_, count)) => *count += 1,
            None => rates.skipped = Some((refused(), 1)),
        }
        false
    }

    /// Returns and resets the counted refusals: one per account, with its count. Also drops idle accounts if too many are remembered.
    pub fn skipped_refusals(&self) -> Vec<(AccountId, RequestRefused)> {
        let mut all = self.rates();
        let counted = |(account, rates): (&AccountId, &mut Rates)| {
            let (refused, count) = rates.skipped.take()?;
            Some((account.clone(), RequestRefused { count: Some(count), ..refused }))
        };
        let skipped = all.iter_mut().filter_map(counted).collect();
        if all.len() > RATES_MAX {
            all.retain(|_, rates| rates.second_at.elapsed().as_secs() < 60 || rates.counted_at.elapsed().as_secs() < 60);
        }
        skipped
    }

    fn rates(&self) -> MutexGuard<'_, HashMap<AccountId, Rates>> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rates {
    const fn new(changes: u64, now: Instant) -> Self {
        Self { changes, counted_at: now, recorded: 0, second_at: now, skipped: None }
    }
}

impl Slot {
    #[must_use]
    pub fn limits(&self) -> &LimitsConfig {
        &self.quotas.limits
    }

    /// Counts the request against the rate limits of its key and account.
    ///
    /// # Errors
    /// Returns 429 if a limit is reached, 503 if the ledger does not renew this gateway's shares of it; nothing is counted then.
    pub async fn count_request(&mut self, key: &Key, headers: &Arc<RateHeaders>) -> Result<(), GatewayError> {
        let limits = Arc::clone(&self.quotas.rate_limits);
        let counted = share_renewer::with_share(&limits, || limits.request(key, Instant::now())).await;
        let (share, standing) = counted.map_err(|exceeded| exceeded.into_error(headers))?;
        headers.note(standing);
        self.rate = Some((share, Arc::clone(headers)));
        Ok(())
    }

    /// Counts the request for a free model. An account that has bought credit has a higher limit.
    ///
    /// # Errors
    /// Fails as [`Self::count_request`] does; the request is then counted nowhere.
    pub async fn take_free(&mut self, has_bought: bool) -> Result<(), GatewayError> {
        let (limits, per_day) = (Arc::clone(&self.quotas.rate_limits), self.quotas.free_per_day(has_bought));
        let Some((share, headers)) = &mut self.rate else { return Ok(()) };
        let taken = share_renewer::with_share(&limits, || share.take_free(per_day, Instant::now())).await;
        let standing = taken.map_err(|exceeded| {
            share.give_back();
            exceeded.into_error(headers)
        })?;
        headers.note(standing);
        Ok(())
    }

    /// Reserves the most tokens that the request can use, in place of an earlier reservation.
    ///
    /// # Errors
    /// Fails as [`Self::count_request`] does; the request is then counted nowhere.
    pub async fn take_tokens(&mut self, tokens: u64) -> Result<(), GatewayError> {
        let limits = Arc::clone(&self.quotas.rate_limits);
        let Some((share, headers)) = &mut self.rate else { return Ok(()) };
        let taken = share_renewer::with_share(&limits, || share.take_tokens(tokens, Instant::now())).await;
        taken.map_err(|exceeded| {
            share.give_back();
            exceeded.into_error(headers)
        })
    }

    /// Replaces the reserved tokens by those that the request has used.
    pub fn settle_tokens(&mut self, tokens: u64) {
        if let Some((share, _)) = &mut self.rate {
            share.settle(tokens);
        }
    }

    /// Takes quota for more bytes of the request's body.
    ///
    /// # Errors
    /// Returns 429 if the account's requests have reached the limit, 503 if all requests together have.
    pub fn take_bytes(&mut self, bytes: usize) -> Result<(), GatewayError> {
        let limits = &self.quotas.limits;
        let is_own = !take(&self.share.bytes, bytes, limits.body_bytes_in_flight_per_account_max);
        if is_own || !take(&self.quotas.all.bytes, bytes, limits.body_bytes_in_flight_max) {
            if !is_own {
                self.share.bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            return Err(GatewayError::Busy { quota: Quota::BodyBytes, is_own });
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Releases the quota of the request's body.
    pub fn release_bytes(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.share.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.quotas.all.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes a place for counting the request's prompt. An account may use half of the places, and at least one.
    ///
    /// # Errors
    /// Returns 429 if the account has reached its limit, 503 if the gateway has.
    pub fn count(&self) -> Result<Counting, GatewayError> {
        let busy = |is_own| GatewayError::Busy { quota: Quota::TokenCounts, is_own };
        if !take(&self.share.counts, 1, (self.quotas.limits.token_counts_max / 2).max(1)) {
            return Err(busy(true));
        }
        let Ok(permit) = Arc::clone(&self.quotas.counts).try_acquire_owned() else {
            self.share.counts.fetch_sub(1, Ordering::Relaxed);
            return Err(busy(false));
        };
        Ok(Counting { share: Arc::clone(&self.share), _permit: permit })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.share.counts.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.release_bytes();
        self.quotas.all.requests.fetch_sub(1, Ordering::Relaxed);
        if self.share.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            let mut accounts = self.quotas.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            // A new request of the account may have arrived meanwhile; slots are taken under this lock.
            if self.share.requests.load(Ordering::Relaxed) == 0 && self.share.counts.load(Ordering::Relaxed) == 0 {
                accounts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(change: impl FnOnce(&mut LimitsConfig)) -> Arc<Quotas> {
        let mut limits = LimitsConfig::default();
        change(&mut limits);
        Quotas::new(limits, false)
    }

    fn is_own(error: &GatewayError) -> bool {
        matches!(error, GatewayError::Busy { is_own: true, .. })
    }

    #[test]
    fn one_account_cannot_take_the_places_of_another() {
        let quotas = quotas(|limits| (limits.requests_in_flight_per_account_max, limits.requests_in_flight_max) = (2, 3));
        let (one, other) = (AccountId::from("a"), AccountId::from("b"));
        let held: Vec<Slot> = (0..2).map(|_| quotas.request(&one).ok().unwrap()).collect();
        assert!(is_own(&quotas.request(&one).err().unwrap()));
        let third = quotas.request(&other).ok().unwrap();
        assert!(!is_own(&quotas.request(&other).err().unwrap()), "the gateway's own bound");
        drop((held, third));
        assert_eq!(quotas.in_flight(), (0, 0));
        assert!(quotas.accounts.lock().unwrap().is_empty(), "nothing is remembered of who has nothing in flight");
    }

    #[test]
    fn bytes_are_given_back_once() {
        let quotas = quotas(|limits| limits.body_bytes_in_flight_per_account_max = 100);
        let mut slot = quotas.request(&"a".into()).ok().unwrap();
        slot.take_bytes(60).ok().unwrap();
        assert!(is_own(&slot.take_bytes(60).err().unwrap()));
        slot.release_bytes();
        slot.take_bytes(100).ok().unwrap();
        drop(slot);
        assert_eq!(quotas.in_flight(), (0, 0));
    }

    #[test]
    fn changes_beyond_the_rate_are_refused_and_refusals_are_counted() {
        let quotas = quotas(|limits| (limits.key_changes_per_second, limits.refusals_recorded_per_second) = (2, 3));
        let account = AccountId::from("a");
        let done = (0..100).filter(|_| quotas.change_key(&account).is_ok()).count();
        assert!((8..12).contains(&done), "{done}");
        let refused = || RequestRefused {
            request: "r".into(),
            key: "k".into(),
            model: "m".into(),
            status: 402,
            code: "c".into(),
            guardrail: None,
            refused_at_us: 0,
            count: None,
        };
        let recorded = (0..10).filter(|_| quotas.refusal(&account, refused)).count();
        let skipped = quotas.skipped_refusals();
        assert_eq!((recorded, skipped[0].1.count), (3, Some(7)));
        assert!(quotas.skipped_refusals().is_empty());
    }
}
