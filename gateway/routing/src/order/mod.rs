//! The order in which endpoints are tried.

use std::cmp::{Ordering, Reverse};

use crate::facts::{EndpointFacts, Needs};
use crate::filter::{self, Skip};
use crate::health::{BreakerState, HealthView, Percentiles};
use crate::preferences::{Cutoffs, Fallbacks, Partition, Preferences, SortBy};
use crate::seeded::Seeded;

/// An endpoint that a request may use.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub facts: &'a EndpointFacts,
    pub health: HealthView,
    /// The place of its model among the models that the request names.
    pub model: usize,
}

/// The reason for an endpoint's place. A lower one comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It has the prompt in its cache.
    Sticky,
    /// The caller's `order` names it.
    Ordered,
    /// By the caller's `sort`.
    Sorted,
    /// Drawn by price.
    Balanced,
    /// It misses a preferred throughput or latency.
    MissesPreference,
    /// It had an outage in the last 30 s.
    Outage,
    /// Its breaker lets no request through at present.
    Broken,
}

impl Why {
    /// Returns the reason as a code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sticky => "sticky",
            Self::Ordered => "order",
            Self::Sorted => "sort",
            Self::Balanced => "balanced",
            Self::MissesPreference => "misses_preference",
            Self::Outage => "outage",
            Self::Broken => "broken",
        }
    }
}

/// A chosen endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// Its index among the candidates.
    pub index: usize,
    pub why: Why,
}

/// Every candidate, either in the order of trial or excluded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub order: Vec<Chosen>,
    pub skipped: Vec<(usize, Skip)>,
}

/// The group of an endpoint: groups are tried in this order, and only within one is there sorting or drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    model: usize,
    why: Why,
    /// The place in the caller's `order`.
    place: usize,
}

/// Orders the endpoints that meet all constraints. `sticky` is the index of the endpoint that has the prompt in its cache.
///
/// The caller's `order` turns stickiness off. Within a group without `sort`, endpoints are drawn without replacement, with a weight of
/// 1/price² times the operator's factor; see [`balance`].
#[must_use]
pub fn select(candidates: &[Candidate<'_>], preferences: &Preferences, needs: &Needs, sticky: Option<usize>, seed: u64) -> Selection {
    let sticky = sticky.filter(|_| preferences.order.is_empty());
    let mut selection = Selection::default();
    let mut kept = Vec::with_capacity(candidates.len());
    for (index, candidate) in candidates.iter().enumerate() {
        match filter::skip(candidate.facts, preferences, needs) {
            Some(skip) => selection.skipped.push((index, skip)),
            None => kept.push((group(candidate, preferences, sticky == Some(index)), index, candidate)),
        }
    }
    let sort = |one: &Candidate<'_>, other: &Candidate<'_>| compared(preferences.sort, one, other);
    kept.sort_by(|(group, index, one), (others, other_index, other)| {
        group.cmp(others).then_with(|| sort(one, other)).then(index.cmp(other_index))
    });
    let mut seeded = Seeded::new(seed);
    for group in kept.chunk_by_mut(|(group, ..), (other, ..)| group == other) {
        if preferences.sort.is_none() {
            balance(group, |(_, _, candidate)| candidate.facts, &mut seeded);
        }
    }
    for (group, index, _) in kept {
        let has_first = selection.order.last().is_some_and(|last| same_partition(candidates, preferences, last.index, index));
        if preferences.fallbacks == Fallbacks::Off && preferences.order.is_empty() && has_first {
            selection.skipped.push((index, Skip::NotFirst));
        } else {
            selection.order.push(Chosen { index, why: group.why });
        }
    }
    selection
}

fn same_partition(candidates: &[Candidate<'_>], preferences: &Preferences, one: usize, other: usize) -> bool {
    let model = |index: usize| candidates.get(index).map(|candidate| candidate.model);
    match preferences.partition {
        Partition::Model => model(one) == model(other),
        Partition::None => true,
    }
}

fn group(candidate: &Candidate<'_>, preferences: &Preferences, is_sticky: bool) -> Group {
    let place = preferences.order.iter().position(|pattern| pattern.matches(candidate.facts));
    let why = match candidate.health.breaker {
        BreakerState::Open { .. } | BreakerState::Probing => Why::Broken,
        BreakerState::Closed | BreakerState::HalfOpen if candidate.health.has_outage => Why::Outage,
        BreakerState::Closed | BreakerState::HalfOpen if is_sticky => Why::Sticky,
        BreakerState::Closed | BreakerState::HalfOpen if place.is_some() => Why::Ordered,
        BreakerState::Closed | BreakerState::HalfOpen if !meets_preferred(&candidate.health, preferences) => Why::MissesPreference,
        BreakerState::Closed | BreakerState::HalfOpen => preferences.sort.map_or(Why::Balanced, |_| Why::Sorted),
    };
    let model = match preferences.partition {
        Partition::Model => candidate.model,
        Partition::None => 0,
    };
    Group { model, why, place: place.unwrap_or(usize::MAX) }
}

/// Returns whether an endpoint meets the preferred figures. One without measurements meets them, or it would never be measured.
fn meets_preferred(health: &HealthView, preferences: &Preferences) -> bool {
    let pairs = |cutoffs: &Cutoffs, measured: &Percentiles| {
        [(cutoffs.p50, measured.p50), (cutoffs.p75, measured.p75), (cutoffs.p90, measured.p90), (cutoffs.p99, measured.p99)]
    };
    let (throughput, latency) = (&preferences.preferred_min_throughput_milli, &preferences.preferred_max_latency_us);
    let is_fast = health
        .throughput_milli
        .is_none_or(|measured| pairs(throughput, &measured).into_iter().all(|(least, value)| least.is_none_or(|least| value >= least)));
    let is_prompt = health
        .ttft_us
        .is_none_or(|measured| pairs(latency, &measured).into_iter().all(|(most, value)| most.is_none_or(|most| value <= most)));
    is_fast && is_prompt
}

/// Compares two endpoints of a group: by the caller's figure, price, name. Endpoints without measurements come after those with.
fn compared(sort: Option<SortBy>, one: &Candidate<'_>, other: &Candidate<'_>) -> Ordering {
    let throughput = |candidate: &Candidate<'_>| Reverse(candidate.health.throughput_milli.map(|measured| measured.p50));
    let latency = |candidate: &Candidate<'_>| candidate.health.ttft_us.map_or(u64::MAX, |measured| measured.p50);
    let by_figure = match sort {
        Some(SortBy::Throughput) => throughput(one).cmp(&throughput(other)),
        Some(SortBy::Latency) => latency(one).cmp(&latency(other)),
        Some(SortBy::Price) | None => Ordering::Equal,
    };
    let by_price = one.facts.price.typical_picos().cmp(&other.facts.price.typical_picos());
    by_figure.then(by_price).then_with(|| one.facts.provider.cmp(&other.facts.provider))
}

/// Reorders items by drawing them without replacement, with a weight of 1/price² times the operator's factor. The items must be sorted by
/// price. A price of 0 counts as the smallest price above 0. Items of weight 0 remain last, in their order.
pub fn balance<T>(items: &mut [T], facts: impl Fn(&T) -> &EndpointFacts, seeded: &mut Seeded) {
    const ONE: u128 = 1 << 32;
    let price = |item: &T| u128::from(facts(item).price.typical_picos().max(1));
    let mut left = items;
    while !left.is_empty() {
        // Relative to the cheapest of the rest, the weights fit: (2³²)² × 2³².
        let Some(cheapest) = left.iter().filter(|item| facts(item).weight > 0).map(price).min() else { return };
        let weights = left.iter().map(|item| {
            let ratio = (cheapest * ONE / price(item)).min(ONE);
            (ratio * ratio).max(1) * u128::from(facts(item).weight)
        });
        let Some(drawn) = seeded.weighted(weights) else { return };
        if let Some(front) = left.get_mut(..=drawn) {
            front.rotate_right(1);
        }
        left = left.get_mut(1..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
