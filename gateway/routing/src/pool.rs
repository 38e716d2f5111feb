//! The credentials of a provider: one is drawn by weight among those that the provider accepts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::seeded::Seeded;

/// The first time that a rejected credential rests. Each rejection in a row doubles it.
pub const REJECTED_MIN_US: i64 = 5 * 60_000_000;
pub const REJECTED_MAX_US: i64 = 60 * 60_000_000;
/// The time that a rate-limited credential rests if the provider does not say for how long.
pub const RATE_LIMITED_DEFAULT_US: i64 = 1_000_000;
pub const RATE_LIMITED_MAX_US: i64 = 60_000_000;

/// A provider's answer to a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialOutcome {
    Accepted,
    /// 429.
    RateLimited {
        retry_after_us: Option<i64>,
    },
    /// 401, 402, 403, or an exhausted quota.
    Rejected,
}

#[derive(Debug, Clone, Copy)]
struct Credential {
    weight: u32,
    rests_until_us: i64,
    rejections: u32,
}

/// The credentials of one provider, shared between threads.
#[derive(Debug)]
pub struct Pool(Mutex<Vec<Credential>>);

impl Pool {
    /// Returns a pool of credentials with the given weights. A credential of weight 0 is never drawn.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        Self(Mutex::new(weights.iter().map(|weight| Credential { weight: *weight, rests_until_us: i64::MIN, rejections: 0 }).collect()))
    }

    /// Draws a credential by weight, except those that rest and those that the request has tried. `None` if there is no other.
    #[must_use]
    pub fn choose(&self, now_us: i64, seed: u64, tried: &[usize]) -> Option<usize> {
        let credentials = self.credentials();
        let weights = credentials.iter().enumerate().map(|(index, credential)| {
            let is_free = credential.rests_until_us <= now_us && !tried.contains(&index);
            if is_free { u128::from(credential.weight) } else { 0 }
        });
        Seeded::new(seed).weighted(weights)
    }

    /// Records a provider's answer. Returns the time until which the credential rests, if it does.
    pub fn record(&self, now_us: i64, index: usize, outcome: CredentialOutcome) -> Option<i64> {
        let mut credentials = self.credentials();
        let credential = credentials.get_mut(index)?;
        let rest_us = match outcome {
            CredentialOutcome::Accepted => {
                // A late answer to an earlier request does not end a rest.
                if credential.rests_until_us <= now_us {
                    credential.rejections = 0;
                }
                return None;
            }
            CredentialOutcome::RateLimited { retry_after_us } => {
                retry_after_us.unwrap_or(RATE_LIMITED_DEFAULT_US).clamp(0, RATE_LIMITED_MAX_US)
            }
            CredentialOutcome::Rejected if credential.rejections > 0 && credential.rests_until_us > now_us => 0,
            CredentialOutcome::Rejected => {
                let doubled = REJECTED_MIN_US.checked_shl(credential.rejections.min(8)).unwrap_or(REJECTED_MAX_US);
                credential.rejections = credential.rejections.saturating_add(1);
                doubled.min(REJECTED_MAX_US)
            }
        };
        credential.rests_until_us = credential.rests_until_us.max(now_us.saturating_add(rest_us));
        Some(credential.rests_until_us)
    }

    fn credentials(&self) -> MutexGuard<'_, Vec<Credential>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_drawn_by_weight() {
        let pool = Pool::new(&[1, 3, 0]);
        let mut counts = [0_u32; 3];
        for seed in 0..10_000 {
            counts[pool.choose(0, seed, &[]).unwrap()] += 1;
        }
        assert!(counts[0].abs_diff(2_500) < 150 && counts[2] == 0, "{counts:?}");
        assert!((0..100).all(|seed| pool.choose(0, seed, &[1]) == Some(0)));
        assert_eq!(pool.choose(0, 1, &[0, 1]), None);
        assert_eq!(Pool::new(&[]).choose(0, 1, &[]), None);
    }

    #[test]
    fn a_rejection_rests_longer_than_a_rate_limit_and_doubles() {
        let pool = Pool::new(&[1]);
        assert_eq!(pool.record(0, 0, CredentialOutcome::RateLimited { retry_after_us: Some(5) }), Some(5));
        assert_eq!((pool.choose(4, 1, &[]), pool.choose(5, 1, &[])), (None, Some(0)));
        let long = CredentialOutcome::RateLimited { retry_after_us: Some(i64::MAX) };
        assert_eq!(pool.record(5, 0, long), Some(5 + RATE_LIMITED_MAX_US));
        let mut now = 100_000_000;
        for rest in [1, 2, 4, 8, 12, 12].map(|times| times * REJECTED_MIN_US) {
            assert_eq!(pool.record(now, 0, CredentialOutcome::Rejected), Some(now + rest));
            assert_eq!(pool.record(now + 1, 0, CredentialOutcome::Rejected), Some(now + rest), "a request sent before");
            assert_eq!(pool.record(now + 1, 0, CredentialOutcome::Accepted), None);
            assert_eq!(pool.choose(now + rest - 1, 1, &[]), None);
            now += rest;
        }
        assert_eq!(pool.choose(now, 1, &[]), Some(0));
        pool.record(now, 0, CredentialOutcome::Accepted);
        assert_eq!(pool.record(now, 0, CredentialOutcome::Rejected), Some(now + REJECTED_MIN_US));
    }
}
