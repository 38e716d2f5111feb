//! The division of rate limits among gateways: a pure state that a call changes.
//!
//! The sum of all shares of a limit is at most the limit, and a gateway never lowers its share below what it passed in its window. So at no
//! time have all gateways together passed more than the limit within one window, also while shares move. A gateway that is silent keeps its
//! shares until it can no longer use them, and the window after that has passed.

use std::collections::BTreeMap;

use events::rpc::{RenewShares, SHARES_LAST_MS, ShareAsk, SharedLimit, SharesRenewed};

/// The time for which a silent gateway's shares are kept beyond its last use and the window: the difference between the clocks of ledgers,
/// and the time by which a place in a window becomes free late.
const MARGIN_MS: u64 = 5_000;

/// A gateway that holds shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The number of its last call.
    pub sequence: u64,
    pub renewed_at_us: i64,
}

/// The share of one gateway of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub window_ms: u64,
    pub share: u64,
    pub used: u64,
    pub needs: u64,
    pub least: u64,
    /// Since when it has needed more than its share.
    pub short_since_us: Option<i64>,
}

/// The shares of the limits that a call names, by limit and holder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shares {
    pub holders: BTreeMap<String, Holder>,
    pub limits: BTreeMap<String, BTreeMap<String, Share>>,
}

/// A gateway's claim on a limit.
#[derive(Debug, Clone, Copy)]
struct Claim {
    needs: u64,
    least: u64,
    short_since_us: Option<i64>,
}

fn micros(ms: u64) -> i64 {
    i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

impl Holder {
    /// Returns whether the gateway may still use its shares.
    #[must_use]
    pub fn is_alive(&self, now_us: i64) -> bool {
        now_us < self.renewed_at_us.saturating_add(micros(SHARES_LAST_MS + MARGIN_MS))
    }
}

/// Returns the time before which a holder must have been renewed last, so that its shares of such a window are over.
#[must_use]
pub fn over_if_renewed_before_us(now_us: i64, window_ms: u64) -> i64 {
    now_us.saturating_sub(micros(SHARES_LAST_MS.saturating_add(MARGIN_MS).saturating_add(window_ms)))
}

impl Shares {
    /// Applies a call: takes what the gateway gives back, and grants what is free.
    pub fn renew(&mut self, call: &RenewShares, now_us: i64) -> SharesRenewed {
        if self.holders.get(&call.holder).is_some_and(|holder| holder.sequence >= call.sequence) {
            return SharesRenewed { is_applied: false, shares: Vec::new(), contended: Vec::new() };
        }
        self.holders.insert(call.holder.clone(), Holder { sequence: call.sequence, renewed_at_us: now_us });
        let shares = call.asks.iter().map(|ask| self.ask(&call.holder, ask, now_us)).collect();
        SharesRenewed { is_applied: true, shares, contended: Vec::new() }
    }

    fn ask(&mut self, holder: &str, ask: &ShareAsk, now_us: i64) -> SharedLimit {
        let holders = &self.holders;
        let of_limit = self.limits.entry(ask.limit.clone()).or_default();
        let before = of_limit.remove(holder);
        of_limit.retain(|other, share| {
            holders.get(other).is_some_and(|other| other.renewed_at_us >= over_if_renewed_before_us(now_us, share.window_ms))
        });
        let others: u64 = of_limit.values().fold(0, |sum, share| sum.saturating_add(share.share));
        let free = ask.most.saturating_sub(others);
        // A gateway keeps no more than it had, unless it is free: the books may be older than what it was granted.
        let kept = ask.keeps.min(free.max(before.map_or(0, |before| before.share)));
        // One that has passed something goes behind those that have not.
        let since_us = before.filter(|before| before.used >= ask.used).and_then(|before| before.short_since_us).unwrap_or(now_us);
        let (needs, used) = (ask.needs.min(ask.most.max(ask.used)), ask.used);
        let mut claims = vec![Claim { needs, least: ask.least, short_since_us: (needs > kept).then_some(since_us) }];
        let mut silent: u64 = 0;
        for (other, share) in of_limit.iter() {
            if holders.get(other).is_some_and(|holder| holder.is_alive(now_us)) {
                claims.push(Claim { needs: share.needs, least: share.least, short_since_us: share.short_since_us });
            } else {
                silent = silent.saturating_add(share.share);
            }
        }
        let is_other_short = claims.iter().skip(1).any(|claim| claim.short_since_us.is_some());
        let target = fair(ask.most.saturating_sub(silent), &claims);
        let goal = if is_other_short { target } else { ask.wants.max(target) };
        let share = kept.max(goal.min(free));
        let short_since_us = (needs > share).then_some(since_us);
        let is_contended = is_other_short || short_since_us.is_some() || share.saturating_add(others) > ask.most;
        if share > 0 || short_since_us.is_some() {
            let row = Share { window_ms: ask.window_ms, share, used, needs, least: ask.least, short_since_us };
            of_limit.insert(holder.to_owned(), row);
        }
        SharedLimit { share, target: is_contended.then_some(target), others }
    }
}

/// Returns the fair part of the first claim: gateways that need little get it, and the others get equal parts.
///
/// An equal part that is smaller than the smallest amount that helps is of no use. Such parts are put together for those that wait longest.
fn fair(most: u64, claims: &[Claim]) -> u64 {
    let mut needs: Vec<u64> = claims.iter().map(|claim| claim.needs).collect();
    needs.sort_unstable();
    let (mut left, mut level) = (most, u64::MAX);
    for (place, need) in needs.iter().enumerate() {
        let equal = left / u64::try_from(needs.len() - place).unwrap_or(u64::MAX).max(1);
        if *need > equal {
            level = equal;
            break;
        }
        left -= need;
    }
    let Some(own) = claims.first() else { return 0 };
    let is_useless = |claim: &Claim| claim.needs > level && level < claim.least;
    if !is_useless(own) {
        return own.needs.min(level);
    }
    let mut waiting: Vec<(usize, &Claim)> = claims.iter().enumerate().filter(|(_, claim)| is_useless(claim)).collect();
    waiting.sort_by_key(|(_, claim)| claim.short_since_us.unwrap_or(i64::MAX));
    let mut pool = level.saturating_mul(u64::try_from(waiting.len()).unwrap_or(u64::MAX)).max(left);
    for (place, claim) in waiting {
        let given = if claim.least <= pool { claim.least } else { 0 };
        if place == 0 {
            return given;
        }
        pool -= given;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(keeps: u64, used: u64, needs: u64) -> ShareAsk {
        ShareAsk { limit: "l".into(), most: 100, window_ms: 60_000, keeps, used, needs, wants: needs, least: 1 }
    }

    fn call(holder: &str, sequence: u64, ask: ShareAsk) -> RenewShares {
        RenewShares { holder: holder.into(), sequence, asks: vec![ask] }
    }

    #[test]
    fn a_gateway_gets_what_is_free_and_later_what_the_other_gives_back() {
        let mut shares = Shares::default();
        assert_eq!(shares.renew(&call("a", 1, ask(0, 0, 90)), 0).shares[0], SharedLimit { share: 90, target: None, others: 0 });
        let second = shares.renew(&call("b", 1, ask(0, 0, 80)), 0).shares[0];
        assert_eq!(second, SharedLimit { share: 10, target: Some(50), others: 90 });
        let first = shares.renew(&call("a", 2, ask(90, 70, 90)), 0).shares[0];
        assert_eq!(first, SharedLimit { share: 90, target: Some(50), others: 10 }, "it must shrink as its window slides");
        shares.renew(&call("a", 3, ask(70, 70, 90)), 0);
        assert_eq!(shares.renew(&call("b", 2, ask(10, 10, 80)), 0).shares[0].share, 30);
    }

    #[test]
    fn late_calls_change_nothing_and_silent_gateways_keep_their_shares_for_a_window() {
        let mut shares = Shares::default();
        shares.renew(&call("a", 2, ask(0, 0, 90)), 0);
        assert!(!shares.renew(&call("a", 1, ask(0, 0, 0)), 0).is_applied);
        let over_us = micros(SHARES_LAST_MS + MARGIN_MS + 60_000);
        assert_eq!(shares.renew(&call("b", 1, ask(0, 0, 80)), over_us).shares[0].share, 10);
        assert_eq!(shares.renew(&call("b", 2, ask(10, 0, 80)), over_us + 1).shares[0].share, 80);
        assert_eq!(shares.renew(&call("a", 3, ask(0, 0, 90)), over_us + 1).shares[0].share, 20, "it comes back");
    }

    #[test]
    fn small_needs_are_met_and_large_ones_get_equal_parts() {
        let claims = |needs: &[u64]| -> Vec<Claim> {
            needs.iter().map(|needs| Claim { needs: *needs, least: 1, short_since_us: Some(0) }).collect()
        };
        assert_eq!(fair(100, &claims(&[10, 90, 90])), 10);
        assert_eq!(fair(100, &claims(&[90, 10, 90])), 45);
        assert_eq!(fair(100, &claims(&[30, 10])), 30);
        let large = |own: i64, other: i64| fair(100, &[own, other].map(|at| Claim { needs: 80, least: 80, short_since_us: Some(at) }));
        assert_eq!((large(1, 2), large(2, 1)), (80, 0), "one after the other, not half of it for each");
    }
}
