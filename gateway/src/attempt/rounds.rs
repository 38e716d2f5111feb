//! The rounds of a request over its candidates. After a round in which all failed, those whose failure may pass are tried again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use routing::Why;
use routing::retry::{RetryBudget, Spent};

use super::error::AttemptError;
use super::{Try, blame};
use crate::admission::Access;
use crate::route::{Candidate, Endpoint};

/// The chance of a candidate that has failed.
#[derive(Clone, Copy)]
pub(super) enum Chance {
    /// Another try would fail too.
    Gone,
    /// Another try may succeed after this time.
    After(Duration),
}

impl Chance {
    /// Returns the chance of a candidate after a failure.
    pub(super) fn of(failure: &AttemptError, now_us: i64) -> Self {
        match failure {
            AttemptError::Overloaded { retry_after, .. } => {
                let wait_us = blame::retry_after_us(retry_after.as_ref(), now_us).unwrap_or_default();
                Self::After(Duration::from_micros(u64::try_from(wait_us).unwrap_or_default()))
            }
            AttemptError::Connect | AttemptError::Cut | AttemptError::Timeout => Self::After(Duration::ZERO),
            AttemptError::Refused { .. }
            | AttemptError::Operator { .. }
            | AttemptError::Malformed
            | AttemptError::Coding(_)
            | AttemptError::TooLarge => Self::Gone,
        }
    }
}

/// The candidates of one request, round after round.
pub(super) struct Rounds<'a> {
    budget: RetryBudget,
    since: Instant,
    /// The number of the round, from 1.
    round: u32,
    /// The candidates of this round, and whether their breaker has refused them.
    waiting: VecDeque<(&'a Candidate, bool)>,
    /// The candidates that failed in this round, and the time after which they may be tried again.
    again: Vec<(&'a Candidate, Duration)>,
}

impl<'a> Rounds<'a> {
    pub(super) fn new(candidates: &'a [Candidate], budget: RetryBudget) -> Self {
        let waiting = candidates.iter().map(|candidate| (candidate, false)).collect();
        Self { budget, since: Instant::now(), round: 1, waiting, again: Vec::new() }
    }

    /// Returns the next candidate of this round. Those that their breaker refuses come last in the first round; in later ones they are left
    /// alone, so that retries do not add to the load of a provider that is down.
    pub(super) fn next(&mut self, now_us: i64, tries: usize) -> Option<Try<'a>> {
        if count(tries) >= self.budget.tries_max {
            return None;
        }
        while let Some((candidate, is_last_resort)) = self.waiting.pop_front() {
            let (access, is_let_through) = match &candidate.own {
                Some(keys) => (Access::LastResort, keys.has_usable(now_us)),
                None => match candidate.endpoint.health.try_acquire(now_us) {
                    Some(permit) => (Access::Permitted(permit), true),
                    None => (Access::LastResort, false),
                },
            };
            if !is_let_through && !is_last_resort {
                if self.round == 1 {
                    self.waiting.push_back((candidate, true));
                }
                continue;
            }
            let why = if is_let_through { candidate.why } else { Why::Broken };
            return Some(Try { candidate, has_next: !self.waiting.is_empty(), access, is_last_resort, why, round: self.round });
        }
        None
    }

    /// Notes the failure of a candidate.
    pub(super) fn failed(&mut self, candidate: &'a Candidate, chance: Chance) {
        match chance {
            Chance::Gone => {}
            Chance::After(wait) => self.again.push((candidate, wait)),
        }
    }

    /// Begins the next round. Returns the wait before it, or `None` if no candidate has a chance or the budget is exhausted.
    pub(super) fn next_round(&mut self, tries: usize, seed: u64) -> Option<Duration> {
        let least = self.again.iter().map(|(_, wait)| *wait).min()?;
        let spent = Spent { rounds: self.round, tries: count(tries), elapsed: self.since.elapsed() };
        let delay = self.budget.next_delay(spent, seed, least)?;
        let again = std::mem::take(&mut self.again).into_iter();
        self.waiting = again.filter(|(_, wait)| *wait <= delay).map(|(candidate, _)| (candidate, false)).collect();
        self.round = self.round.saturating_add(1);
        Some(delay)
    }

    /// Returns the endpoints that their breaker has refused, and that are not tried yet.
    pub(super) fn left_alone(&self) -> impl Iterator<Item = &'a Endpoint> {
        self.waiting.iter().filter(|(_, is_refused)| *is_refused).map(|(candidate, _)| &*candidate.endpoint)
    }
}

fn count(tries: usize) -> u32 {
    u32::try_from(tries).unwrap_or(u32::MAX)
}
