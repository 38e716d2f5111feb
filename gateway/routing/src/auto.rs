//! `model: "auto"`: models ranked by ability, health, price and latency.

use std::cmp::Reverse;

use crate::facts::Needs;
use crate::filter;
use crate::health::BreakerState;
use crate::order::Candidate;
use crate::preferences::Preferences;

/// Points for uptime over 5 minutes, for the price and for the time to the first token. They sum to 1,000.
const UPTIME_POINTS: u64 = 500;
const PRICE_POINTS: u64 = 300;
const LATENCY_POINTS: u64 = 200;

/// Returns whether a model name asks for an automatic choice.
#[must_use]
pub fn is_auto(name: &str) -> bool {
    ["auto", "openrouter/auto", "arouter/auto"].iter().any(|auto| auto.eq_ignore_ascii_case(name))
}

/// Returns whether a pattern allows a model: an exact id, or one with wildcards, such as `anthropic/*` or `*/gpt-5*`. Case is ignored.
#[must_use]
pub fn allows(pattern: &str, model: &str) -> bool {
    let (pattern, model) = (pattern.to_lowercase(), model.to_lowercase());
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == model };
    let Some(mut left) = model.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(last)
}

/// Ranks models, best first, as the values of [`Candidate::model`]. A model is ranked by its best endpoint; it is left out if it has none
/// that meets all constraints, or if no pattern allows it. No patterns allow all.
///
/// The score of an endpoint is 500 × uptime + 300 × (lowest price / price) + 200 × (lowest latency / latency). What is not measured counts
/// as full uptime and half latency. Reasoning, when asked for, must be known to be supported. Endpoints with an outage or an open breaker
/// come after all others. Ties go by the model's id.
#[must_use]
pub fn rank(candidates: &[Candidate<'_>], preferences: &Preferences, needs: &Needs, patterns: &[String]) -> Vec<usize> {
    let is_possible = |candidate: &&Candidate<'_>| {
        let facts = candidate.facts;
        filter::skip(facts, preferences, needs).is_none()
            && (!needs.has_reasoning || facts.supports("reasoning") == Some(true))
            && (patterns.is_empty() || patterns.iter().any(|pattern| allows(pattern, &facts.model)))
    };
    let possible: Vec<&Candidate<'_>> = candidates.iter().filter(is_possible).collect();
    let cheapest = possible.iter().map(|candidate| candidate.facts.price.typical_picos()).min().unwrap_or(0);
    let fastest = possible.iter().filter_map(|candidate| Some(candidate.health.ttft_us?.p50)).min().unwrap_or(0);
    let mut ranked: Vec<_> = possible
        .into_iter()
        .map(|candidate| (is_unwell(candidate), Reverse(score(candidate, cheapest, fastest)), &candidate.facts.model, candidate.model))
        .collect();
    ranked.sort_unstable();
    let mut models = Vec::new();
    for (.., model) in ranked {
        if !models.contains(&model) {
            models.push(model);
        }
    }
    models
}

fn is_unwell(candidate: &Candidate<'_>) -> bool {
    candidate.health.has_outage || matches!(candidate.health.breaker, BreakerState::Open { .. } | BreakerState::Probing)
}

fn score(candidate: &Candidate<'_>, cheapest_picos: u64, fastest_us: u64) -> u64 {
    let uptime = u64::from(candidate.health.uptime_5m_bp.unwrap_or(10_000)) * UPTIME_POINTS / 10_000;
    let price = share(cheapest_picos, candidate.facts.price.typical_picos(), PRICE_POINTS);
    let latency = candidate.health.ttft_us.map_or(LATENCY_POINTS / 2, |measured| share(fastest_us, measured.p50, LATENCY_POINTS));
    uptime + price + latency
}

/// Returns `points × least / value`; all points for a value of 0.
fn share(least: u64, value: u64, points: u64) -> u64 {
    let share = u128::from(least.max(1)) * u128::from(points) / u128::from(value.max(1));
    u64::try_from(share).unwrap_or(points).min(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{EndpointFacts, Price};
    use crate::health::{HealthView, Percentiles};

    fn model(id: &str, prompt_picos: u64) -> EndpointFacts {
        let price = Price { prompt_picos, ..Price::default() };
        EndpointFacts { model: id.to_owned(), price, context_length: Some(1_000), ..EndpointFacts::default() }
    }

    #[test]
    fn patterns_have_wildcards() {
        for (pattern, model, is_allowed) in [
            ("openai/gpt-5.4", "OpenAI/GPT-5.4", true),
            ("openai/gpt-5", "openai/gpt-5.4", false),
            ("anthropic/*", "anthropic/claude", true),
            ("anthropic/*", "openai/gpt-5.4", false),
            ("*/gpt-5*", "openai/gpt-5.4", true),
            ("*", "a/b", true),
            ("a*b*c", "a/bc", true),
            ("a*b*b", "a/b", false),
            ("a*a", "a", false),
            ("**", "x", true),
        ] {
            assert_eq!(allows(pattern, model), is_allowed, "{pattern} {model}");
        }
        assert!(is_auto("auto") && is_auto("OpenRouter/auto") && !is_auto("auto-1"));
    }

    #[test]
    fn models_are_ranked_by_ability_health_price_and_latency() {
        let facts = [model("a/cheap", 100), model("b/dear", 1_000), model("c/small", 1), model("d/ill", 100), model("e/fast", 100)];
        let small = EndpointFacts { context_length: Some(10), ..facts[2].clone() };
        let ttft = |p50| HealthView { ttft_us: Some(Percentiles { p50, ..Percentiles::default() }), ..HealthView::default() };
        let healths = [ttft(400), ttft(400), ttft(1), HealthView { has_outage: true, ..ttft(1) }, ttft(200)];
        let candidates: Vec<Candidate<'_>> = facts
            .iter()
            .enumerate()
            .map(|(index, facts)| Candidate { facts: if index == 2 { &small } else { facts }, health: healths[index], model: index })
            .collect();
        let needs = Needs { prompt_tokens: 100, ..Needs::default() };
        let ranked = |patterns: &[String]| rank(&candidates, &Preferences::default(), &needs, patterns);
        assert_eq!(ranked(&[]), [4, 0, 1, 3]);
        assert_eq!(ranked(&["b/*".to_owned(), "D/ILL".to_owned()]), [1, 3]);
        assert_eq!(ranked(&["z/*".to_owned()]), [0; 0]);
        let reasoning = Needs { has_reasoning: true, ..needs.clone() };
        assert_eq!(rank(&candidates, &Preferences::default(), &reasoning, &[]), [0; 0]);
    }

    #[test]
    fn uptime_outweighs_price() {
        let (cheap, dear) = (model("a/a", 10), model("b/b", 100));
        let unsteady = HealthView { uptime_5m_bp: Some(3_000), ..HealthView::default() };
        let candidates =
            [Candidate { facts: &cheap, health: unsteady, model: 0 }, Candidate { facts: &dear, health: HealthView::default(), model: 1 }];
        assert_eq!(rank(&candidates, &Preferences::default(), &Needs::default(), &[]), [1, 0]);
    }
}
