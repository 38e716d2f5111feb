//! Rate limits: requests a minute of an account; requests a minute and a day and tokens a minute of a key; requests for free models.
//!
//! All limits of a request belong to one account and are checked under one lock, so a refused request takes nothing of any of them. Tokens
//! are reserved for the largest answer and corrected at the end, at the time of admission: no sliding minute has more of them than the
//! limit, except for one request whose own bound is larger. Such a request is admitted if nothing else is in its minute.
//!
//! Windows are in memory: a restart empties them. Each of several gateways passes an equal share of every limit (`limits.gateways`), at
//! least one request, so together they never pass more than a limit that is at least their number.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use events::control::Key;
use events::{AccountId, KeyHash};

use super::rate_headers::RateHeaders;
use super::rate_window::{Taken, Window};
use crate::config::LimitsConfig;
use crate::error::GatewayError;

/// The number of locks that the accounts share.
const SHARDS: usize = 64;

/// The limits with the usage of all accounts.
pub struct RateLimits {
    requests_per_minute: Option<u64>,
    free_per_minute: Option<u64>,
    gateways: u64,
    hasher: RandomState,
    shards: Box<[Mutex<HashMap<AccountId, Account>>]>,
    /// The time at which the windows' clock shows 0.
    since: Instant,
}

/// The usage of an account.
struct Account {
    minute: Window,
    free_minute: Window,
    free_day: Window,
    keys: HashMap<KeyHash, KeyUsage>,
}

/// The usage of a key. A window stays empty while the key has no such limit.
struct KeyUsage {
    minute: Window,
    day: Window,
    tokens: Window,
}

/// A limit, as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    AccountPerMinute,
    KeyPerMinute,
    KeyPerDay,
    KeyTokens,
    FreePerMinute,
    FreePerDay,
}

/// The state of the limit on requests that is nearest to its end, for the headers of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub limit: u64,
    pub remaining: u64,
    /// The milliseconds after which the oldest counted request leaves the window.
    pub resets_in_ms: u64,
}

/// A limit that a request would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    pub limit: Limit,
    pub standing: Standing,
    /// The milliseconds after which the request passes if no other one does.
    pub passes_in_ms: u64,
}

/// The part of the limits that one request has taken.
pub struct RateShare {
    limits: Arc<RateLimits>,
    account: AccountId,
    key: KeyHash,
    tokens_per_minute: Option<u64>,
    minute: Option<Taken>,
    key_minute: Option<Taken>,
    key_day: Option<Taken>,
    free: Option<(Taken, Taken)>,
    tokens: Option<Taken>,
}

impl Limit {
    /// Returns what is limited, as messages say it.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::AccountPerMinute => "requests a minute of this account",
            Self::KeyPerMinute => "requests a minute of this API key",
            Self::KeyPerDay => "requests a day of this API key",
            Self::KeyTokens => "tokens a minute of this API key",
            Self::FreePerMinute => "requests a minute for free models",
            Self::FreePerDay => "requests a day for free models",
        }
    }
}

impl Account {
    const fn new(keys: HashMap<KeyHash, KeyUsage>) -> Self {
        Self { minute: Window::minute(), free_minute: Window::minute(), free_day: Window::day(), keys }
    }

    fn is_idle(&mut self, now_ms: u64) -> bool {
        self.keys.retain(|_, key| key.minute.used(now_ms) + key.day.used(now_ms) + key.tokens.used(now_ms) > 0);
        self.keys.is_empty() && self.minute.used(now_ms) + self.free_minute.used(now_ms) + self.free_day.used(now_ms) == 0
    }

    fn key(&mut self, hash: &KeyHash) -> &mut KeyUsage {
        let new = || KeyUsage { minute: Window::minute(), day: Window::day(), tokens: Window::minute() };
        self.keys.entry(hash.clone()).or_insert_with(new)
    }
}

/// Checks one more request against a limit.
fn check(window: &mut Window, limit: Limit, most: u64, now_ms: u64) -> Result<Standing, Exceeded> {
    let used = window.used(now_ms);
    let standing = |remaining| Standing { limit: most, remaining, resets_in_ms: window.oldest_leaves_at_ms(now_ms).saturating_sub(now_ms) };
    if let Some(remaining) = most.checked_sub(used + 1) {
        return Ok(standing(remaining));
    }
    let passes_in_ms = window.fits_at_ms(1, most).unwrap_or(u64::MAX).saturating_sub(now_ms);
    Err(Exceeded { limit, standing: standing(0), passes_in_ms })
}

impl Standing {
    /// Returns the standing with fewer requests left.
    #[must_use]
    pub fn tighter(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if one.remaining <= other.remaining { one } else { other }),
            (one, other) => one.or(other),
        }
    }
}

impl RateLimits {
    /// Creates the limits with nothing used.
    #[must_use]
    pub fn new(config: &LimitsConfig) -> Arc<Self> {
        Arc::new(Self {
            requests_per_minute: config.requests_per_minute.0,
            free_per_minute: config.free_requests_per_minute.0,
            gateways: u64::from(config.gateways.max(1)),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            since: Instant::now(),
        })
    }

    /// Counts a request of a key. The standing is `None` if nothing limits the key's requests.
    ///
    /// # Errors
    /// Fails if a limit is reached; nothing is counted then.
    pub fn request(self: &Arc<Self>, key: &Key, now: Instant) -> Result<(RateShare, Option<Standing>), Exceeded> {
        let now_ms = self.now_ms(now);
        let mut accounts = self.lock(&key.account);
        let account = accounts.entry(key.account.clone()).or_insert_with(|| Account::new(HashMap::new()));
        let bounds = key.rate_limit;
        let mut standing = None;
        if let Some(most) = self.share(self.requests_per_minute) {
            standing = Standing::tighter(standing, Some(check(&mut account.minute, Limit::AccountPerMinute, most, now_ms)?));
        }
        if let Some(most) = self.share(bounds.requests_per_minute) {
            standing = Standing::tighter(standing, Some(check(&mut account.key(&key.hash).minute, Limit::KeyPerMinute, most, now_ms)?));
        }
        if let Some(most) = self.share(bounds.requests_per_day) {
            standing = Standing::tighter(standing, Some(check(&mut account.key(&key.hash).day, Limit::KeyPerDay, most, now_ms)?));
        }
        let share = RateShare {
            limits: Arc::clone(self),
            account: key.account.clone(),
            key: key.hash.clone(),
            tokens_per_minute: self.share(bounds.tokens_per_minute),
            minute: self.requests_per_minute.map(|_| account.minute.take(1, now_ms)),
            key_minute: bounds.requests_per_minute.map(|_| account.key(&key.hash).minute.take(1, now_ms)),
            key_day: bounds.requests_per_day.map(|_| account.key(&key.hash).day.take(1, now_ms)),
            free: None,
            tokens: None,
        };
        Ok((share, standing))
    }

    /// Returns the part of a limit that this gateway may pass.
    fn share(&self, limit: Option<u64>) -> Option<u64> {
        limit.map(|limit| (limit / self.gateways).max(1))
    }

    /// Returns the number of an account's requests for free models in the last 24 hours.
    #[must_use]
    pub fn free_used(&self, account: &AccountId, now: Instant) -> u64 {
        let now_ms = self.now_ms(now);
        self.lock(account).get_mut(account).map_or(0, |account| account.free_day.used(now_ms))
    }

    /// Forgets accounts and keys whose windows are empty.
    pub fn forget_idle(&self, now: Instant) {
        let now_ms = self.now_ms(now);
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, account| !account.is_idle(now_ms));
        }
    }

    fn now_ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self, account: &AccountId) -> MutexGuard<'_, HashMap<AccountId, Account>> {
        let place = usize::try_from(self.hasher.hash_one(account) % SHARDS as u64).unwrap_or_default();
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RateShare {
    /// Counts the request for a free model, once. `per_day` is the account's limit for a day.
    ///
    /// # Errors
    /// Fails if a limit is reached; the request is then counted nowhere.
    pub fn take_free(&mut self, per_day: Option<u64>, now: Instant) -> Result<Option<Standing>, Exceeded> {
        if self.free.is_some() {
            return Ok(None);
        }
        let (limits, now_ms) = (Arc::clone(&self.limits), self.limits.now_ms(now));
        let mut accounts = limits.lock(&self.account);
        let account = accounts.entry(self.account.clone()).or_insert_with(|| Account::new(HashMap::new()));
        let checked = (|| {
            let mut standing = None;
            if let Some(most) = limits.share(limits.free_per_minute) {
                standing = Standing::tighter(standing, Some(check(&mut account.free_minute, Limit::FreePerMinute, most, now_ms)?));
            }
            if let Some(most) = limits.share(per_day) {
                standing = Standing::tighter(standing, Some(check(&mut account.free_day, Limit::FreePerDay, most, now_ms)?));
            }
            Ok(standing)
        })();
        match checked {
            Ok(_) => self.free = Some((account.free_minute.take(1, now_ms), account.free_day.take(1, now_ms))),
            Err(_) => self.give_back(account),
        }
        checked
    }

    /// Reserves tokens for the request, in place of an earlier reservation.
    ///
    /// # Errors
    /// Fails if the limit is reached; the request is then counted nowhere.
    pub fn take_tokens(&mut self, tokens: u64, now: Instant) -> Result<(), Exceeded> {
        let Some(most) = self.tokens_per_minute else { return Ok(()) };
        let (limits, now_ms) = (Arc::clone(&self.limits), self.limits.now_ms(now));
        let mut accounts = limits.lock(&self.account);
        let account = accounts.entry(self.account.clone()).or_insert_with(|| Account::new(HashMap::new()));
        let window = &mut account.key(&self.key).tokens;
        if let Some(mut before) = self.tokens.take() {
            window.correct(&mut before, 0);
        }
        let used = window.used(now_ms);
        let needed = tokens.min(most);
        if used.saturating_add(needed) <= most {
            self.tokens = Some(window.take(tokens, now_ms));
            return Ok(());
        }
        let standing = Standing {
            limit: most,
            remaining: most.saturating_sub(used),
            resets_in_ms: window.oldest_leaves_at_ms(now_ms).saturating_sub(now_ms),
        };
        let passes_in_ms = window.fits_at_ms(needed, most).unwrap_or(u64::MAX).saturating_sub(now_ms);
        self.give_back(account);
        Err(Exceeded { limit: Limit::KeyTokens, standing, passes_in_ms })
    }

    /// Replaces the reserved tokens by those that the request has used.
    pub fn settle(&mut self, tokens: u64) {
        let Some(mut taken) = self.tokens.take() else { return };
        let mut accounts = self.limits.lock(&self.account);
        if let Some(account) = accounts.get_mut(&self.account) {
            account.key(&self.key).tokens.correct(&mut taken, tokens);
        }
    }

    /// Takes the request out of all windows.
    fn give_back(&mut self, account: &mut Account) {
        let none = |window: &mut Window, taken: Option<Taken>| {
            if let Some(mut taken) = taken {
                window.correct(&mut taken, 0);
            }
        };
        none(&mut account.minute, self.minute.take());
        let (minute, day) = self.free.take().unzip();
        none(&mut account.free_minute, minute);
        none(&mut account.free_day, day);
        let (minute, day, tokens) = (self.key_minute.take(), self.key_day.take(), self.tokens.take());
        if minute.is_some() || day.is_some() || tokens.is_some() {
            let key = account.key(&self.key);
            none(&mut key.minute, minute);
            none(&mut key.day, day);
            none(&mut key.tokens, tokens);
        }
    }
}

impl Drop for RateShare {
    /// Returns the tokens of a request that was never sent.
    fn drop(&mut self) {
        self.settle(0);
    }
}

impl Exceeded {
    /// Returns the error for the client, whose headers tell of this limit.
    #[must_use]
    pub fn into_error(self, headers: &RateHeaders) -> GatewayError {
        headers.exceeded(self.standing);
        GatewayError::RateLimited { what: self.limit.what(), most: self.standing.limit, passes_in_ms: self.passes_in_ms }
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
        RateLimits::new(&config)
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
        assert_eq!(limits.lock(&key.account).get_mut(&key.account).unwrap().minute.used(0), 1, "the refused one is counted nowhere");
        one.settle(40);
        let mut next = limits.request(&key, now).ok().unwrap().0;
        next.take_tokens(60, now).unwrap();
        next.take_tokens(30, now).unwrap();
        assert!(other.take_tokens(31, now).is_err());
        drop(next);
        other.take_tokens(60, now).unwrap();
    }

    #[test]
    fn several_gateways_pass_the_limit_together() {
        let key = key("k", RateLimit { requests_per_minute: Some(600), ..RateLimit::default() });
        let gateways: Vec<_> = (0..4).map(|_| limits(|limits| limits.gateways = 4)).collect();
        let passed = gateways.iter().map(|limits| (0..600).filter(|_| limits.request(&key, limits.since).is_ok()).count()).sum::<usize>();
        assert_eq!(passed, 600);
    }
}
