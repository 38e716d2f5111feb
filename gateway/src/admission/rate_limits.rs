//! Rate limits: requests a minute of an account; requests a minute and a day and tokens a minute of a key; requests for free models.
//!
//! All limits of a request belong to one account and are checked under one lock, so a refused request takes nothing of any of them. Tokens
//! are reserved for the largest answer and corrected at the end, at the time of admission: no sliding minute has more of them than the
//! limit, except for one request whose own bound is larger. Such a request is admitted if nothing else is in its minute.
//!
//! Windows are in memory. Several gateways have shares of each limit, which the ledger moves between them ([`super::share_renewer`]).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use events::control::Key;
use events::{AccountId, KeyHash};
use tokio::sync::Notify;

use super::limit::{Exceeded, Limit, Place, Standing};
use super::local_share::{Room, SharedWindow, Validity};
use super::rate_window::{Taken, Window};
use crate::config::LimitsConfig;

/// The number of locks that the accounts share.
const SHARDS: usize = 64;
/// The time after which to retry if other gateways use what is missing here, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// The limits with the usage of all accounts.
pub struct RateLimits {
    requests_per_minute: Option<u64>,
    free_per_minute: Option<u64>,
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<AccountId, Account>>]>,
    /// The time at which the windows' clock shows 0.
    since: Instant,
    /// The shares of this gateway; `None` if it is the only one.
    pub(super) sharing: Option<Sharing>,
}

/// The state of the shares of all limits.
#[derive(Default)]
pub(super) struct Sharing {
    /// The end of the shares on the windows' clock.
    pub valid_until_ms: AtomicU64,
    /// The limits that the next call to the ledger is about.
    pub queue: Mutex<Vec<Place>>,
    /// Wakes the renewer.
    pub wake: Notify,
    /// Wakes requests that wait for a reply.
    pub answered: Notify,
}

/// The usage of an account.
struct Account {
    minute: SharedWindow,
    free_minute: SharedWindow,
    free_day: SharedWindow,
    keys: HashMap<KeyHash, KeyUsage>,
}

/// The usage of a key. A window stays empty while the key has no such limit.
struct KeyUsage {
    minute: SharedWindow,
    day: SharedWindow,
    tokens: SharedWindow,
}

/// The part of the limits that one request has taken.
pub struct RateShare {
    limits: Arc<RateLimits>,
    account: AccountId,
    key: KeyHash,
    tokens_per_minute: Option<u64>,
    requests: Vec<(Limit, Taken)>,
    is_free: bool,
    tokens: Option<Taken>,
}

impl Account {
    fn new() -> Self {
        let [minute, free_minute] = [Window::minute(), Window::minute()].map(SharedWindow::new);
        Self { minute, free_minute, free_day: SharedWindow::new(Window::day()), keys: HashMap::new() }
    }

    fn is_idle(&mut self, now_ms: u64) -> bool {
        self.keys.retain(|_, key| [&mut key.minute, &mut key.day, &mut key.tokens].into_iter().any(|window| !window.is_empty(now_ms)));
        let mut own = [&mut self.minute, &mut self.free_minute, &mut self.free_day].into_iter();
        self.keys.is_empty() && own.all(|window| window.is_empty(now_ms))
    }

    fn key(&mut self, hash: &KeyHash) -> &mut KeyUsage {
        self.keys.entry(hash.clone()).or_insert_with(|| {
            let [minute, tokens] = [Window::minute(), Window::minute()].map(SharedWindow::new);
            KeyUsage { minute, day: SharedWindow::new(Window::day()), tokens }
        })
    }

    fn window(&mut self, limit: Limit, key: &KeyHash) -> &mut SharedWindow {
        match limit {
            Limit::AccountPerMinute => &mut self.minute,
            Limit::FreePerMinute => &mut self.free_minute,
            Limit::FreePerDay => &mut self.free_day,
            Limit::KeyPerMinute => &mut self.key(key).minute,
            Limit::KeyPerDay => &mut self.key(key).day,
            Limit::KeyTokens => &mut self.key(key).tokens,
        }
    }
}

impl RateLimits {
    /// Creates the limits with nothing used. `is_shared` tells whether other gateways may serve the same accounts.
    #[must_use]
    pub fn new(config: &LimitsConfig, is_shared: bool) -> Arc<Self> {
        Arc::new(Self {
            requests_per_minute: config.requests_per_minute.0,
            free_per_minute: config.free_requests_per_minute.0,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            since: Instant::now(),
            sharing: is_shared.then(Sharing::default),
        })
    }

    /// Counts a request of a key. The standing is `None` if nothing limits the key's requests.
    ///
    /// # Errors
    /// Fails if a limit is reached; nothing is counted then.
    pub fn request(self: &Arc<Self>, key: &Key, now: Instant) -> Result<(RateShare, Option<Standing>), Exceeded> {
        let now_ms = self.now_ms(now);
        let mut accounts = self.lock(&key.account);
        let account = accounts.entry(key.account.clone()).or_insert_with(Account::new);
        let bounds = key.rate_limit;
        let limits = [
            (Limit::AccountPerMinute, self.requests_per_minute),
            (Limit::KeyPerMinute, bounds.requests_per_minute),
            (Limit::KeyPerDay, bounds.requests_per_day),
        ];
        let mut share = RateShare {
            limits: Arc::clone(self),
            account: key.account.clone(),
            key: key.hash.clone(),
            tokens_per_minute: bounds.tokens_per_minute,
            requests: Vec::new(),
            is_free: false,
            tokens: None,
        };
        let standing = share.take_requests(account, &limits, now_ms)?;
        Ok((share, standing))
    }

    /// Checks an amount against a limit, and asks the ledger for more if little is left.
    fn check(
        &self,
        account: &mut Account,
        (owner, key): (&AccountId, &KeyHash),
        (limit, most, amount): (Limit, u64, u64),
        now_ms: u64,
    ) -> Result<Standing, Exceeded> {
        let window = account.window(limit, key);
        let validity = self.validity(now_ms);
        let room = window.room(amount, most, validity, now_ms);
        if let Some(sharing) = &self.sharing
            && window.is_low(now_ms)
            && window.queue()
        {
            sharing.lock().push(Place { account: owner.clone(), key: key.clone(), limit });
            if !window.is_contended() {
                sharing.wake.notify_one();
            }
        }
        let resets_in_ms = window.window.oldest_leaves_at_ms(now_ms).saturating_sub(now_ms);
        let left = window.left(now_ms);
        let standing = |remaining| Standing { limit: most, remaining, resets_in_ms };
        if room == Room::Free {
            return Ok(standing(left.saturating_sub(amount)));
        }
        let bound = if self.sharing.is_some() { window.bound() } else { most };
        let passes_in_ms = window.window.fits_at_ms(amount, bound).map_or(RETRY_MS, |at_ms| at_ms.saturating_sub(now_ms).max(1));
        let is_lapsed = validity == Validity::Lapsed && room == Room::Later;
        Err(Exceeded { limit, standing: standing(0), passes_in_ms, is_open: room == Room::Later, is_lapsed })
    }

    fn validity(&self, now_ms: u64) -> Validity {
        match &self.sharing {
            None => Validity::Alone,
            Some(sharing) if now_ms < sharing.valid_until_ms.load(Ordering::Acquire) => Validity::Valid,
            Some(_) => Validity::Lapsed,
        }
    }

    /// Returns the number of an account's requests for free models in the last 24 hours.
    #[must_use]
    pub fn free_used(&self, account: &AccountId, now: Instant) -> u64 {
        let now_ms = self.now_ms(now);
        self.lock(account).get_mut(account).map_or(0, |account| account.free_day.window.used(now_ms))
    }

    /// Forgets accounts and keys whose windows are empty.
    pub fn forget_idle(&self, now: Instant) {
        let now_ms = self.now_ms(now);
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, account| !account.is_idle(now_ms));
        }
    }

    /// Applies a function to a window.
    pub(super) fn at<T>(&self, place: &Place, apply: impl FnOnce(&mut SharedWindow) -> T) -> T {
        let mut accounts = self.lock(&place.account);
        apply(accounts.entry(place.account.clone()).or_insert_with(Account::new).window(place.limit, &place.key))
    }

    pub(super) fn now_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self, account: &AccountId) -> MutexGuard<'_, HashMap<AccountId, Account>> {
        let place = usize::try_from(self.hasher.hash_one(account) % SHARDS as u64).unwrap_or_default();
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sharing {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RateShare {
    /// Checks the request against all these limits, then counts it in all of them, or in none.
    fn take_requests(&mut self, account: &mut Account, limits: &[(Limit, Option<u64>)], now_ms: u64) -> Result<Option<Standing>, Exceeded> {
        let mut standing = None;
        for (limit, most) in limits {
            let Some(most) = *most else { continue };
            let checked = self.limits.check(account, (&self.account, &self.key), (*limit, most, 1), now_ms)?;
            standing = Standing::tighter(standing, Some(checked));
        }
        for (limit, _) in limits.iter().filter(|(_, most)| most.is_some()) {
            self.requests.push((*limit, account.window(*limit, &self.key).window.take(1, now_ms)));
        }
        Ok(standing)
    }

    /// Counts the request for a free model, once. `per_day` is the account's limit for a day.
    ///
    /// # Errors
    /// Fails if a limit is reached; the request is then counted nowhere, unless the ledger may have a larger share.
    pub fn take_free(&mut self, per_day: Option<u64>, now: Instant) -> Result<Option<Standing>, Exceeded> {
        if self.is_free {
            return Ok(None);
        }
        let (limits, now_ms) = (Arc::clone(&self.limits), self.limits.now_ms(now));
        let mut accounts = limits.lock(&self.account);
        let account = accounts.entry(self.account.clone()).or_insert_with(Account::new);
        let bounds = [(Limit::FreePerMinute, limits.free_per_minute), (Limit::FreePerDay, per_day)];
        let checked = self.take_requests(account, &bounds, now_ms);
        match &checked {
            Ok(_) => self.is_free = true,
            Err(exceeded) if exceeded.is_open => {}
            Err(_) => self.return_from(account),
        }
        checked
    }

    /// Reserves tokens for the request, in place of an earlier reservation.
    ///
    /// # Errors
    /// Fails if the limit is reached; the request is then counted nowhere, unless the ledger may have a larger share.
    pub fn take_tokens(&mut self, tokens: u64, now: Instant) -> Result<(), Exceeded> {
        let Some(most) = self.tokens_per_minute else { return Ok(()) };
        let (limits, now_ms) = (Arc::clone(&self.limits), self.limits.now_ms(now));
        let mut accounts = limits.lock(&self.account);
        let account = accounts.entry(self.account.clone()).or_insert_with(Account::new);
        let window = &mut account.window(Limit::KeyTokens, &self.key).window;
        if let Some(mut before) = self.tokens.take() {
            window.correct(&mut before, 0);
        }
        let used = window.used(now_ms);
        let checked = limits.check(account, (&self.account, &self.key), (Limit::KeyTokens, most, tokens.min(most)), now_ms);
        let Err(exceeded) = checked else {
            self.tokens = Some(account.window(Limit::KeyTokens, &self.key).window.take(tokens, now_ms));
            return Ok(());
        };
        if !exceeded.is_open {
            self.return_from(account);
        }
        Err(Exceeded { standing: Standing { remaining: most.saturating_sub(used), ..exceeded.standing }, ..exceeded })
    }

    /// Replaces the reserved tokens by those that the request has used.
    pub fn settle(&mut self, tokens: u64) {
        let Some(mut taken) = self.tokens.take() else { return };
        let mut accounts = self.limits.lock(&self.account);
        if let Some(account) = accounts.get_mut(&self.account) {
            account.window(Limit::KeyTokens, &self.key).window.correct(&mut taken, tokens);
        }
    }

    /// Takes the request out of all windows.
    pub fn give_back(&mut self) {
        let limits = Arc::clone(&self.limits);
        if let Some(account) = limits.lock(&self.account).get_mut(&self.account) {
            self.return_from(account);
        }
    }

    fn return_from(&mut self, account: &mut Account) {
        let tokens = self.tokens.take().map(|taken| (Limit::KeyTokens, taken));
        for (limit, mut taken) in self.requests.drain(..).chain(tokens) {
            account.window(limit, &self.key).window.correct(&mut taken, 0);
        }
        self.is_free = false;
    }
}

impl Drop for RateShare {
    /// Returns the tokens of a request that was never sent.
    fn drop(&mut self) {
        self.settle(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use events::control::RateLimit;
    use events::ids::KeyKind;

    use super::*;
    use crate::config::Bound;

    fn key(hash: &str, rate_limit: RateLimit) -> Key {
        Key {
            hash: hash.into(),
            account: "a".into(),
            kind: KeyKind::Regular,
            name: String::new(),
            label: String::new(),
            disabled: false,
            limit_nanos: None,
            limit_reset: None,
            allowed_models: None,
            allowed_providers: None,
            rate_limit,
            enforce_zdr: false,
            include_byok_in_limit: false,
            created_by: None,
            creating_call: None,
            expires_at_us: None,
            created_at_us: 0,
            updated_at_us: None,
            revision: 1,
        }
    }

    fn limits(change: impl FnOnce(&mut LimitsConfig)) -> Arc<RateLimits> {
        let mut config = LimitsConfig::default();
        change(&mut config);
        RateLimits::new(&config, false)
    }

    #[test]
    fn what_one_limit_refuses_no_other_one_counts() {
        let limits = limits(|limits| limits.requests_per_minute = Bound(Some(10)));
        let small = key("small", RateLimit { requests_per_minute: Some(3), ..RateLimit::default() });
        let now = limits.since;
        let passed = (0..20).filter(|_| limits.request(&small, now).is_ok()).count();
        let rest = (0..20).filter(|_| limits.request(&key("other", RateLimit::default()), now).is_ok()).count();
        assert_eq!((passed, rest), (3, 7));
        let exceeded = limits.request(&small, now).err().unwrap();
        assert_eq!((exceeded.limit, exceeded.passes_in_ms), (Limit::AccountPerMinute, 60_100));
        limits.forget_idle(now + Duration::from_millis(60_099));
        assert_eq!(limits.lock(&"a".into()).len(), 1);
        limits.forget_idle(now + Duration::from_millis(60_100));
        assert!(limits.lock(&"a".into()).is_empty());
        assert!(limits.request(&small, now + Duration::from_millis(60_100)).is_ok());
    }

    #[test]
    fn tokens_are_reserved_corrected_and_returned() {
        let (limits, bounds) = (limits(|_| ()), RateLimit { tokens_per_minute: Some(100), ..RateLimit::default() });
        let (key, now) = (key("k", bounds), limits.since);
        let mut one = limits.request(&key, now).ok().unwrap().0;
        one.take_tokens(1_000, now).unwrap();
        let mut other = limits.request(&key, now).ok().unwrap().0;
        assert_eq!(other.take_tokens(1, now).unwrap_err().limit, Limit::KeyTokens, "a larger one has the minute for itself");
        assert_eq!(limits.lock(&key.account).get_mut(&key.account).unwrap().minute.window.used(0), 1, "the refused one is counted nowhere");
        one.settle(40);
        let mut next = limits.request(&key, now).ok().unwrap().0;
        next.take_tokens(60, now).unwrap();
        next.take_tokens(30, now).unwrap();
        assert!(other.take_tokens(31, now).is_err());
        drop(next);
        other.take_tokens(60, now).unwrap();
    }
}
