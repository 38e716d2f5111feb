//! One limit in this gateway: its window, and the share of the limit that the ledger has granted. Pure; time is an argument.
//!
//! The share never falls below what was passed in the window, and nothing passes beyond it. So the ledger, which keeps the sum of all shares
//! at the limit, keeps all gateways together at the limit in every window.

use events::rpc::{ShareAsk, SharedLimit};

use super::rate_window::Window;

/// The time for which a request may wait for other gateways to give back what they do not use. After that, a refusal is believed.
const BELIEVED_AFTER_MS: u64 = 1_500;
/// The time whose demand a gateway keeps in reserve while others lack something.
const RESERVE_MS: u64 = 500;
/// The part of a limit that a gateway takes beyond its needs if nobody else needs it.
const COMFORT: u64 = 64;

/// A sliding window with this gateway's share of the limit on it.
#[derive(Debug)]
pub struct SharedWindow {
    pub window: Window,
    share: u64,
    /// The fair part, while some gateway lacks something.
    target: Option<u64>,
    others: u64,
    /// The newest limit that a request brought.
    most: u64,
    /// The amounts that arrived since the last ask, and those of them that found no room.
    arrived: u64,
    unmet: u64,
    /// The smallest amount that found no room.
    least: Option<u64>,
    asked_at_ms: u64,
    needed: u64,
    short_since_ms: Option<u64>,
    is_queued: bool,
}

/// The state of all shares of this gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// No other gateway exists: each limit is this one's alone.
    Alone,
    Valid,
    /// The ledger has not renewed the shares in time.
    Lapsed,
}

/// The room for an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Free,
    /// The share is too small, but the ledger may have more.
    Later,
    Reached,
}

impl SharedWindow {
    #[must_use]
    pub const fn new(window: Window) -> Self {
        Self {
            window,
            share: 0,
            target: None,
            others: 0,
            most: 0,
            arrived: 0,
            unmet: 0,
            least: None,
            asked_at_ms: 0,
            needed: 0,
            short_since_ms: None,
            is_queued: false,
        }
    }

    /// Returns the most that this gateway may pass in a window.
    #[must_use]
    pub fn bound(&self) -> u64 {
        self.share.min(self.target.unwrap_or(u64::MAX)).min(self.most)
    }

    /// Returns the amount that is left for all gateways, as far as this one knows.
    pub fn left(&mut self, now_ms: u64) -> u64 {
        self.most.saturating_sub(self.others).saturating_sub(self.window.used(now_ms))
    }

    /// Looks for room for an amount, and notes the demand.
    pub fn room(&mut self, amount: u64, most: u64, validity: Validity, now_ms: u64) -> Room {
        self.most = most;
        if validity == Validity::Alone {
            let fits = self.window.used(now_ms).saturating_add(amount) <= most;
            return if fits { Room::Free } else { Room::Reached };
        }
        let is_valid = validity == Validity::Valid;
        self.arrived = self.arrived.saturating_add(amount);
        let used = self.window.used(now_ms);
        if is_valid && used.saturating_add(amount) <= self.bound() {
            return Room::Free;
        }
        self.unmet = self.unmet.saturating_add(amount);
        self.least = Some(self.least.map_or(amount, |least| least.min(amount)));
        let is_believed = self.short_since_ms.is_some_and(|since_ms| now_ms >= since_ms.saturating_add(BELIEVED_AFTER_MS));
        if used.saturating_add(amount) > most || (is_valid && is_believed) { Room::Reached } else { Room::Later }
    }

    /// Returns whether the ledger should be asked soon: something found no room, or little is left of the share.
    pub fn is_low(&mut self, now_ms: u64) -> bool {
        let left = self.bound().saturating_sub(self.window.used(now_ms));
        self.unmet > 0 || (self.share < self.most && self.target.is_none() && left <= self.most / COMFORT / 4)
    }

    /// Returns whether some gateway lacks something, so that the ledger is asked at intervals.
    #[must_use]
    pub const fn is_contended(&self) -> bool {
        self.target.is_some()
    }

    /// Marks the limit as one for the next call; returns whether it was not.
    pub const fn queue(&mut self) -> bool {
        !std::mem::replace(&mut self.is_queued, true)
    }

    /// Returns whether nothing has passed or asked for a while, but a share is held.
    pub fn is_unused(&mut self, now_ms: u64) -> bool {
        self.share > 0 && self.arrived == 0 && self.window.used(now_ms) == 0
    }

    /// Returns whether nothing is known here that must be kept.
    pub fn is_empty(&mut self, now_ms: u64) -> bool {
        self.share == 0 && !self.is_queued && self.window.used(now_ms) == 0
    }

    /// Gives up the share, which may have been lent to others since it was renewed last. What was passed stays counted.
    pub const fn lapse(&mut self) {
        self.share = 0;
        self.target = None;
    }

    /// Lowers the share to what is useful here, and returns the call about it.
    pub fn ask(&mut self, limit: String, now_ms: u64) -> ShareAsk {
        let used = self.window.used(now_ms);
        let elapsed_ms = now_ms.saturating_sub(self.asked_at_ms).max(RESERVE_MS / 2);
        let reserve = self.arrived.saturating_mul(RESERVE_MS).div_ceil(elapsed_ms);
        let needs = used.saturating_add(self.unmet).saturating_add(reserve).min(self.most).max(used.min(self.most));
        let wants = if self.arrived > 0 { needs.saturating_add((self.most / COMFORT).max(1)).min(self.most) } else { needs };
        let is_idle = used == 0 && self.arrived == 0;
        let useful = match self.target {
            Some(target) => target.min(needs),
            None if is_idle => 0,
            None => self.most,
        };
        let keeps = self.share.min(useful).max(used);
        self.share = self.share.min(keeps);
        self.needed = needs;
        let least = self.least.take().unwrap_or(1).max(1);
        (self.arrived, self.unmet, self.asked_at_ms, self.is_queued) = (0, 0, now_ms, false);
        ShareAsk { limit, most: self.most, window_ms: self.window.length_ms(), keeps, used, needs, wants, least }
    }

    /// Returns the call of a gateway that stops: it keeps only what it has passed.
    pub fn give_back(&mut self, limit: String, now_ms: u64) -> ShareAsk {
        let used = self.window.used(now_ms);
        self.share = self.share.min(used);
        ShareAsk { limit, most: self.most, window_ms: self.window.length_ms(), keeps: used, used, needs: used, wants: used, least: 1 }
    }

    /// Notes the reply to the last ask.
    pub fn answered(&mut self, reply: SharedLimit, now_ms: u64) {
        (self.share, self.target, self.others) = (reply.share, reply.target, reply.others);
        let is_short = reply.share.min(reply.target.unwrap_or(u64::MAX)) < self.needed;
        self.short_since_ms = if is_short { self.short_since_ms.or(Some(now_ms)) } else { None };
    }

    /// Notes that another gateway lacks something.
    pub fn contend(&mut self) {
        self.target = Some(self.target.unwrap_or(self.share));
    }

    #[must_use]
    pub const fn share(&self) -> u64 {
        self.share
    }
}
