//! The order of endpoints: examples, shares of the draw, and properties over random catalogues and requests.

use super::*;
use crate::facts::{Modality, Price, Quantization};
use crate::names::{Variant, Variants};
use crate::preferences::Restrictions;
use crate::provider::ProviderPattern;

fn endpoint(provider: &str, dollars_per_million: u64) -> EndpointFacts {
    let picos = dollars_per_million * 1_000_000;
    let price = Price { prompt_picos: picos, completion_picos: picos, ..Price::default() };
    EndpointFacts { provider: provider.to_owned(), provider_name: provider.to_owned(), price, weight: 100, ..EndpointFacts::default() }
}

fn of_model(facts: &EndpointFacts, model: usize, health: HealthView) -> Candidate<'_> {
    Candidate { facts, health, model }
}

fn measured(throughput: u64, ttft: u64) -> HealthView {
    let flat = |value| Some(Percentiles { p50: value, p75: value, p90: value, p99: value });
    HealthView { throughput_milli: flat(throughput), ttft_us: flat(ttft), ..HealthView::default() }
}

fn indices(selection: &Selection) -> Vec<usize> {
    selection.order.iter().map(|chosen| chosen.index).collect()
}

fn selected(candidates: &[Candidate<'_>], json: &str, sticky: Option<usize>, seed: u64) -> Selection {
    select(candidates, &Preferences::parse(json).unwrap(), &Needs::default(), sticky, seed)
}

#[test]
fn sorts_go_by_their_figure_and_then_by_price_and_name() {
    let facts = [endpoint("d", 2), endpoint("c", 1), endpoint("b", 3), endpoint("a", 1)];
    let healths = [measured(10, 10), measured(30, 30), measured(20, 5), HealthView::default()];
    let candidates: Vec<_> = facts.iter().zip(healths).map(|(facts, health)| of_model(facts, 0, health)).collect();
    for (json, order) in [
        (r#"{"sort":"price"}"#, [3, 1, 0, 2]),
        (r#"{"sort":"throughput"}"#, [1, 2, 0, 3]),
        (r#"{"sort":{"by":"latency"}}"#, [2, 0, 1, 3]),
        (r#"{"sort":"price","order":["b","d"]}"#, [2, 0, 3, 1]),
        (r#"{"sort":"price","preferred_min_throughput":20e-3}"#, [3, 1, 2, 0]),
        (r#"{"sort":"price","preferred_max_latency":{"p90":10e-6}}"#, [3, 0, 2, 1]),
    ] {
        assert_eq!(indices(&selected(&candidates, json, None, 1)), order, "{json}");
    }
    assert_eq!(indices(&selected(&candidates, r#"{"sort":"price"}"#, Some(2), 1)), [2, 3, 1, 0]);
    assert_eq!(indices(&selected(&candidates, r#"{"sort":"price","order":["d"]}"#, Some(2), 1)), [0, 3, 1, 2], "order beats stickiness");
}

#[test]
fn the_unwell_are_last() {
    let facts = [endpoint("a", 1), endpoint("b", 1), endpoint("c", 9), endpoint("d", 9)];
    let with = |breaker, has_outage| HealthView { breaker, has_outage, ..HealthView::default() };
    let healths = [
        with(BreakerState::Open { until_us: 1 }, true),
        with(BreakerState::Closed, true),
        with(BreakerState::HalfOpen, false),
        with(BreakerState::Probing, false),
    ];
    let candidates: Vec<_> = facts.iter().zip(healths).map(|(facts, health)| of_model(facts, 0, health)).collect();
    let selection = selected(&candidates, r#"{"sort":"price","order":["a","b"]}"#, Some(0), 1);
    assert_eq!(indices(&selection), [2, 1, 0, 3]);
    let why: Vec<&str> = selection.order.iter().map(|chosen| chosen.why.as_str()).collect();
    assert_eq!(why, ["sort", "outage", "broken", "broken"]);
    assert_eq!(indices(&selected(&candidates, "{}", Some(0), 1))[..2], [2, 1], "stickiness does not beat an open breaker");
}

#[test]
fn partitions() {
    let (dear, cheap) = (endpoint("a", 5), endpoint("b", 1));
    let none = HealthView::default();
    let candidates = [of_model(&dear, 0, none), of_model(&cheap, 1, none), of_model(&cheap, 0, none)];
    assert_eq!(indices(&selected(&candidates, r#"{"sort":"price"}"#, None, 1)), [2, 0, 1]);
    assert_eq!(indices(&selected(&candidates, r#"{"sort":{"by":"price","partition":"none"}}"#, None, 1)), [1, 2, 0]);
    let first = selected(&candidates, r#"{"sort":"price","allow_fallbacks":false}"#, None, 1);
    assert_eq!((indices(&first), first.skipped), (vec![2, 1], vec![(0, Skip::NotFirst)]), "the first of each model");
    let first = selected(&candidates, r#"{"sort":{"by":"price","partition":"none"},"allow_fallbacks":false}"#, None, 1);
    assert_eq!(indices(&first), [1]);
}

#[test]
fn shares_are_one_over_the_square_of_the_price() {
    const DRAWS: u64 = 100_000;
    let facts = [endpoint("a", 1), endpoint("b", 3), endpoint("c", 2)];
    let candidates: Vec<_> = facts.iter().map(|facts| of_model(facts, 0, HealthView::default())).collect();
    let (mut first, mut second_after_a) = ([0_u64; 3], [0_u64; 3]);
    for seed in 0..DRAWS {
        let order = indices(&selected(&candidates, "{}", None, seed));
        first[order[0]] += 1;
        if order[0] == 0 {
            second_after_a[order[1]] += 1;
        }
    }
    // 1 : 1/9 : 1/4 = 36 : 4 : 9, and afterwards 4 : 9.
    for (count, share) in first.into_iter().zip([36, 4, 9]) {
        assert!(count.abs_diff(DRAWS * share / 49) < DRAWS / 200, "{first:?}");
    }
    assert!(second_after_a[1].abs_diff(first[0] * 4 / 13) < DRAWS / 200, "{second_after_a:?}");
}

#[test]
fn free_and_heavy_and_weightless_endpoints_are_drawn() {
    let free = endpoint("free", 0);
    let paid = [endpoint("a", 1), endpoint("b", 3)];
    let light = EndpointFacts { weight: 0, ..endpoint("canary", 1) };
    let none = HealthView::default();
    let candidates = [of_model(&light, 0, none), of_model(&free, 0, none), of_model(&paid[0], 0, none), of_model(&paid[1], 0, none)];
    let mut a_second = 0_u64;
    for seed in 0..10_000 {
        let order = indices(&selected(&candidates, "{}", None, seed));
        assert_eq!((order[0], order[3]), (1, 0));
        a_second += u64::from(order[1] == 2);
    }
    assert!(a_second.abs_diff(9_000) < 150, "behind a free endpoint, the shares are those of the price: {a_second}");
    let extreme = EndpointFacts { price: Price { prompt_picos: u64::MAX, ..Price::default() }, weight: u32::MAX, ..endpoint("x", 1) };
    let extremes: Vec<_> = (0..50).map(|_| of_model(&extreme, 0, none)).collect();
    assert_eq!(selected(&extremes, "{}", None, 1).order.len(), 50);
}

/// A random choice among a few values.
fn any<T: Clone>(seeded: &mut Seeded, values: &[T]) -> T {
    values[usize::try_from(seeded.below(values.len() as u128)).unwrap()].clone()
}

fn any_facts(seeded: &mut Seeded) -> EndpointFacts {
    let price = Price {
        prompt_picos: any(seeded, &[0, 1, 1_000_000, 3_000_000]),
        completion_picos: any(seeded, &[0, 2_000_000, 9_000_000]),
        request_picos: any(seeded, &[0, 0, 1_000]),
        image_picos: any(seeded, &[0, 5]),
    };
    EndpointFacts {
        model: "a/b".to_owned(),
        provider: any(seeded, &["openai", "azure", "deepinfra", "x-ai"]).to_owned(),
        provider_name: any(seeded, &["Name", "Other"]).to_owned(),
        price,
        context_length: any(seeded, &[None, Some(100), Some(10_000)]),
        max_output_tokens: any(seeded, &[None, Some(50), Some(5_000)]),
        quantization: any(seeded, &[Quantization::Fp8, Quantization::Int4, Quantization::Unknown]),
        input_modalities: any(seeded, &[None, Some(vec![Modality::Text]), Some(vec![Modality::Text, Modality::Image])]),
        supported_parameters: any(seeded, &[None, Some(vec!["seed".to_owned()]), Some(vec!["tools".to_owned(), "seed".to_owned()])]),
        is_zdr: any(seeded, &[true, false]),
        collects_data: any(seeded, &[true, false]),
        allows_distillation: any(seeded, &[true, false]),
        region: None,
        weight: any(seeded, &[0, 1, 100, 100]),
    }
}

fn any_health(seeded: &mut Seeded) -> HealthView {
    let health = any(seeded, &[HealthView::default(), measured(5, 5), measured(50, 50)]);
    let breaker = any(
        seeded,
        &[BreakerState::Closed, BreakerState::Closed, BreakerState::HalfOpen, BreakerState::Probing, BreakerState::Open { until_us: 1 }],
    );
    HealthView { breaker, has_outage: any(seeded, &[false, false, true]), ..health }
}

fn any_preferences(seeded: &mut Seeded) -> Preferences {
    let lists = ["[]", r#"["OpenAI"]"#, r#"["azure","xai"]"#, r#"["deepinfra/fp8","openai","azure"]"#, "null", "null"];
    let fields = [
        ("order", any(seeded, &lists)),
        ("only", any(seeded, &["null", "null", lists[2], lists[3]])),
        ("ignore", any(seeded, &["null", "null", lists[1]])),
        ("allow_fallbacks", any(seeded, &["null", "true", "false"])),
        ("require_parameters", any(seeded, &["null", "true"])),
        ("data_collection", any(seeded, &["null", "\"deny\""])),
        ("zdr", any(seeded, &["null", "null", "true"])),
        ("quantizations", any(seeded, &["null", "null", r#"["fp8","unknown"]"#])),
        (
            "sort",
            any(seeded, &["null", "\"price\"", "\"throughput\"", r#"{"by":"latency","partition":"none"}"#, r#"{"partition":"none"}"#]),
        ),
        ("preferred_min_throughput", any(seeded, &["null", "0.02"])),
        ("preferred_max_latency", any(seeded, &["null", r#"{"p90":0.00002}"#])),
        ("enforce_distillable_text", any(seeded, &["null", "null", "true"])),
        ("max_price", any(seeded, &["null", "null", r#"{"prompt":1,"completion":2}"#])),
    ];
    let json: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let variants = any(
        seeded,
        &[Variants::default(), Variants::default(), Variants::default().with(Variant::Nitro), Variants::default().with(Variant::Floor)],
    );
    let restrictions = Restrictions {
        allowed_providers: any(seeded, &[None, None, Some(vec![]), Some(vec!["OpenAI".to_owned(), "xai".to_owned(), "azure".to_owned()])]),
        enforce_zdr: any(seeded, &[false, false, false, true]),
        ..Restrictions::default()
    };
    Preferences::parse(&format!("{{{}}}", json.join(","))).unwrap().with_variants(variants).restricted_by(&restrictions)
}

fn any_needs(seeded: &mut Seeded) -> Needs {
    Needs {
        prompt_tokens: any(seeded, &[10, 10, 1_000]),
        output_tokens: any(seeded, &[None, Some(10), Some(100)]),
        parameters: any(seeded, &[vec![], vec!["seed".to_owned()]]),
        modalities: any(seeded, &[vec![Modality::Text], vec![Modality::Text, Modality::Image]]),
        has_tools: any(seeded, &[false, false, true]),
        has_structured_output: any(seeded, &[false, false, true]),
        has_reasoning: false,
    }
}

/// The constraints in other words than those of the filter.
fn may_be_used(facts: &EndpointFacts, wishes: &Preferences, needs: &Needs) -> bool {
    let named = |list: &Vec<ProviderPattern>| list.iter().any(|pattern| pattern.matches(facts));
    let knows =
        |name: &str, unknown: bool| facts.supported_parameters.as_ref().map_or(unknown, |known| known.iter().any(|one| one == name));
    let above = |price: u64, max: Option<u64>| max.is_some_and(|max| price > max);
    let output = needs.output_tokens.unwrap_or(0);
    !(wishes.only.as_ref().is_some_and(|only| !named(only))
        || named(&wishes.ignore)
        || wishes.allowed.iter().any(|allowed| !named(allowed))
        || wishes.enforce_distillable_text && !facts.allows_distillation
        || wishes.fallbacks == Fallbacks::Off && !wishes.order.is_empty() && !named(&wishes.order)
        || wishes.zdr && !facts.is_zdr
        || wishes.data_collection == crate::preferences::DataCollection::Deny && facts.collects_data
        || wishes.quantizations.as_ref().is_some_and(|accepted| !accepted.contains(&facts.quantization))
        || above(facts.price.prompt_picos, wishes.max_price.prompt_picos)
        || above(facts.price.completion_picos, wishes.max_price.completion_picos)
        || wishes.require_parameters && needs.parameters.iter().any(|name| !knows(name, false))
        || needs.prompt_tokens + output > facts.context_length.unwrap_or(u64::MAX)
        || output > facts.max_output_tokens.unwrap_or(u64::MAX)
        || facts.input_modalities.as_ref().is_some_and(|accepted| needs.modalities.iter().any(|one| !accepted.contains(one)))
        || needs.has_tools && !knows("tools", true)
        || needs.has_structured_output && !knows("structured_outputs", true))
}

/// Checks that `later` does not belong before `earlier`.
fn assert_in_order(candidates: &[Candidate<'_>], wishes: &Preferences, earlier: Chosen, later: Chosen) {
    let (one, other) = (&candidates[earlier.index], &candidates[later.index]);
    let place = |candidate: &Candidate<'_>| wishes.order.iter().position(|pattern| pattern.matches(candidate.facts)).unwrap_or(usize::MAX);
    if wishes.partition == Partition::Model && one.model != other.model {
        assert!(one.model < other.model);
        return;
    }
    assert!(earlier.why <= later.why);
    if earlier.why != later.why {
        return;
    }
    assert!(place(one) <= place(other));
    if place(one) != place(other) {
        return;
    }
    let price = |candidate: &Candidate<'_>| candidate.facts.price.typical_picos();
    let throughput = |candidate: &Candidate<'_>| candidate.health.throughput_milli.map(|measured| measured.p50);
    let latency = |candidate: &Candidate<'_>| candidate.health.ttft_us.map_or(u64::MAX, |measured| measured.p50);
    match wishes.sort {
        Some(SortBy::Price) => assert!(price(one) <= price(other)),
        Some(SortBy::Throughput) => assert!(throughput(one) >= throughput(other)),
        Some(SortBy::Latency) => assert!(latency(one) <= latency(other)),
        None => assert!(one.facts.weight > 0 || other.facts.weight == 0, "weightless endpoints are last"),
    }
}

#[test]
fn random_requests_get_what_they_may_use_in_the_documented_order() {
    let (mut chosen, mut skipped) = (0, 0);
    for seed in 0..20_000 {
        let seeded = &mut Seeded::new(seed);
        let facts: Vec<EndpointFacts> = (0..seeded.below(8)).map(|_| any_facts(seeded)).collect();
        let candidates: Vec<_> = facts.iter().map(|facts| of_model(facts, any(seeded, &[0, 0, 1]), any_health(seeded))).collect();
        let (wishes, needs, sticky) = (any_preferences(seeded), any_needs(seeded), any(seeded, &[None, Some(0), Some(9)]));
        let selection = select(&candidates, &wishes, &needs, sticky, seed);
        assert_eq!(selection, select(&candidates, &wishes, &needs, sticky, seed), "the seed decides");
        let mut all: Vec<usize> = indices(&selection).into_iter().chain(selection.skipped.iter().map(|(index, _)| *index)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..candidates.len()).collect::<Vec<_>>(), "seed {seed}: each is chosen or skipped, once");
        for one in &selection.order {
            assert!(may_be_used(candidates[one.index].facts, &wishes, &needs), "seed {seed}");
        }
        for (index, skip) in &selection.skipped {
            let is_second = wishes.fallbacks == Fallbacks::Off && wishes.order.is_empty() && !selection.order.is_empty();
            let is_true = if *skip == Skip::NotFirst { is_second } else { !may_be_used(candidates[*index].facts, &wishes, &needs) };
            assert!(is_true, "seed {seed}: {skip:?}");
        }
        for pair in selection.order.windows(2) {
            assert_in_order(&candidates, &wishes, pair[0], pair[1]);
        }
        (chosen, skipped) = (chosen + selection.order.len(), skipped + selection.skipped.len());
    }
    assert!(chosen > 2_000 && skipped > 5_000, "{chosen} {skipped}");
}
