//! OpenAI's `usage` object: read from providers into disjoint classes, and written to clients with the cost.

use events::CostStatus;
use events::usage::Tokens;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::answer::Billed;
use crate::fields::{Fields, quoted};
use crate::usage::Usage;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reported {
    #[serde(deserialize_with = "count")]
    prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    completion_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    #[serde(deserialize_with = "count")]
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    #[serde(deserialize_with = "count")]
    cached_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_write_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    audio_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    #[serde(deserialize_with = "count")]
    reasoning_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    audio_tokens: Option<u64>,
}

/// Reads a count, also in the form `12.0`. Any other value counts as absent.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    let whole = raw.split_once('.').filter(|(_, rest)| rest.bytes().all(|digit| digit == b'0')).map_or(raw, |(whole, _)| whole);
    Ok(whole.parse().ok())
}

/// Reads a provider's `usage`; returns `None` if it has no counts. OpenAI's counts are cumulative, so the last report holds.
///
/// OpenAI includes cached and audio tokens in `prompt_tokens`, and reasoning and audio tokens in `completion_tokens`. DeepSeek names cached
/// tokens `prompt_cache_hit_tokens`. xAI counts reasoning in addition to `completion_tokens`, which its total reveals. A part larger than
/// its whole is cut to it.
#[must_use]
pub fn read(usage: &RawValue) -> Option<Usage> {
    let reported: Reported = serde_json::from_str(usage.get()).ok()?;
    let (prompt, mut completion) = (reported.prompt_tokens?, reported.completion_tokens.unwrap_or(0));
    let details = reported.completion_tokens_details.unwrap_or_default();
    let reasoning = details.reasoning_tokens.unwrap_or(0);
    let sum = prompt.saturating_add(completion);
    let total = reported.total_tokens.unwrap_or(sum);
    if reasoning > 0 && total == sum.saturating_add(reasoning) {
        completion = completion.saturating_add(reasoning);
    }
    let is_inconsistent = total != prompt.saturating_add(completion);
    let reasoning = reasoning.min(completion);
    let audio_output = details.audio_tokens.unwrap_or(0).min(completion - reasoning);
    let output = completion - reasoning - audio_output;
    let details = reported.prompt_tokens_details.unwrap_or_default();
    let mut input = prompt;
    let mut take = |count: Option<u64>| {
        let part = count.unwrap_or(0).min(input);
        input -= part;
        part
    };
    let cache_read = take(details.cached_tokens.or(reported.prompt_cache_hit_tokens));
    let cache_write_5m = take(details.cache_write_tokens);
    let audio_input = take(details.audio_tokens);
    let tokens = Tokens { input, cache_read, cache_write_5m, output, reasoning, audio_input, audio_output, ..Tokens::default() };
    Some(Usage { is_inconsistent, ..Usage::complete(tokens) })
}

/// The usage and cost that a client is told. Source: section 8 of the product's API facts, decision 9.
#[derive(Debug, Serialize)]
pub struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    /// The cost in USD; null if unknown.
    cost: Option<Box<RawValue>>,
    is_byok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_details: Option<CostDetailsBody>,
    prompt_tokens_details: PromptDetailsBody,
    completion_tokens_details: CompletionDetailsBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttft_ms: Option<u64>,
}

/// The costs of a request with the account's own provider key.
#[derive(Debug, Serialize)]
struct CostDetailsBody {
    /// The list price in USD, which the provider bills to the owner of the key.
    upstream_inference_cost: Box<RawValue>,
}

#[derive(Debug, Serialize)]
struct PromptDetailsBody {
    cached_tokens: u64,
    cache_write_tokens: u64,
    audio_tokens: u64,
}

#[derive(Debug, Serialize)]
struct CompletionDetailsBody {
    reasoning_tokens: u64,
    audio_tokens: u64,
}

impl UsageBody {
    #[must_use]
    pub fn new(billed: &Billed) -> Self {
        let Billed { tokens, status, cost, byok, latency_us, ttft_us } = billed;
        Self {
            prompt_tokens: tokens.prompt(),
            completion_tokens: tokens.completion(),
            total_tokens: tokens.total(),
            cost: (*status != CostStatus::Unknown).then(|| cost.to_json()),
            is_byok: byok.is_some(),
            cost_details: byok.map(|list| CostDetailsBody { upstream_inference_cost: list.to_json() }),
            prompt_tokens_details: PromptDetailsBody {
                cached_tokens: tokens.cache_read,
                cache_write_tokens: tokens.cache_write(),
                audio_tokens: tokens.audio_input,
            },
            completion_tokens_details: CompletionDetailsBody { reasoning_tokens: tokens.reasoning, audio_tokens: tokens.audio_output },
            latency_ms: latency_us.map(|us| us / 1_000),
            ttft_ms: ttft_us.map(|us| us / 1_000),
        }
    }

    /// Returns the usage as JSON text, including those members of the provider's `usage` that the gateway does not count.
    #[must_use]
    pub fn over(&self, provider: Option<&RawValue>) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        let Some(theirs) = provider.and_then(|provider| serde_json::from_str::<Fields<'_>>(provider.get()).ok()) else { return text };
        for (name, ours) in [("prompt_tokens_details", PROMPT_DETAILS), ("completion_tokens_details", COMPLETION_DETAILS)] {
            let inner = theirs.get(name).and_then(|details| serde_json::from_str::<Fields<'_>>(details.get()).ok());
            let more = inner.map_or_else(String::new, |inner| others(&inner, ours));
            // The gateway's text contains the name once, and its value is a flat object.
            if !more.is_empty()
                && let Some(end) = text.find(name).and_then(|at| Some(at + text[at..].find('}')?))
            {
                text.insert_str(end, &more);
            }
        }
        text.insert_str(text.len().saturating_sub(1), &others(&theirs, MEMBERS));
        text
    }
}

/// Members of [`UsageBody`].
const MEMBERS: &[&str] = &[
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost",
    "is_byok",
    "cost_details",
    "prompt_tokens_details",
    "completion_tokens_details",
    "latency_ms",
    "ttft_ms",
];
/// Members of [`PromptDetailsBody`].
const PROMPT_DETAILS: &[&str] = &["cached_tokens", "cache_write_tokens", "audio_tokens"];
/// Members of [`CompletionDetailsBody`].
const COMPLETION_DETAILS: &[&str] = &["reasoning_tokens", "audio_tokens"];

/// Returns the members that are not `ours` as JSON text, each behind a comma.
fn others(theirs: &Fields<'_>, ours: &[&str]) -> String {
    let mut more = String::new();
    for (name, value) in &theirs.0 {
        if !ours.contains(&name.as_ref()) {
            more.extend([",", &quoted(name), ":", value.get()]);
        }
    }
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Tokens> {
        Some(usage(text)?.tokens)
    }

    fn usage(text: &str) -> Option<Usage> {
        read(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn classes_are_disjoint_and_sum_to_the_providers_total() {
        let tokens = of(r#"{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":60,"audio_tokens":10},
            "completion_tokens_details":{"reasoning_tokens":30}}"#)
        .unwrap();
        assert_eq!((tokens.input, tokens.cache_read, tokens.audio_input, tokens.output, tokens.reasoning), (30, 60, 10, 20, 30));
        assert_eq!((tokens.prompt(), tokens.completion()), (100, 50));
    }

    #[test]
    fn a_part_larger_than_its_whole_is_cut() {
        let tokens = of(r#"{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":9}}"#).unwrap();
        assert_eq!((tokens.prompt(), tokens.completion()), (5, 1));
    }

    #[test]
    fn reasoning_beside_the_completion_is_told_by_the_total() {
        let with_total = |total: u64| {
            usage(&format!(
                r#"{{"prompt_tokens":32,"completion_tokens":9,"total_tokens":{total},"completion_tokens_details":{{"reasoning_tokens":94}}}}"#
            ))
            .unwrap()
        };
        assert_eq!(
            (with_total(135).tokens.completion(), with_total(135).tokens.reasoning, with_total(135).is_inconsistent),
            (103, 94, false)
        );
        assert_eq!((with_total(41).tokens.completion(), with_total(41).is_inconsistent), (9, false));
        assert!(with_total(99).is_inconsistent, "a total that nothing explains");
    }

    #[test]
    fn nothing_said_is_not_zero() {
        assert_eq!(of("null"), None);
        assert_eq!(of("{}"), None);
        assert_eq!(of(r#"{"prompt_tokens":-1}"#), None);
        assert_eq!(of(r#"{"prompt_tokens":3.0,"completion_tokens":"x","prompt_tokens_details":null}"#).unwrap().input, 3);
    }

    #[test]
    fn what_we_do_not_count_stays() {
        let tokens = of(r#"{"prompt_tokens":5,"completion_tokens":1}"#).unwrap();
        let body = UsageBody::new(&Billed {
            tokens,
            status: CostStatus::Priced,
            cost: events::Nanos(7),
            byok: None,
            latency_us: None,
            ttft_us: None,
        });
        let theirs = RawValue::from_string(
            r#"{"completion_tokens_details":{"accepted_prediction_tokens":2,"reasoning_tokens":0},"prompt_tokens":9,"extra":[1]}"#
                .to_owned(),
        )
        .unwrap();
        let text = body.over(Some(&theirs));
        assert!(text.contains(r#""accepted_prediction_tokens":2"#) && text.contains(r#""extra":[1]"#), "{text}");
        assert!(text.contains(r#""prompt_tokens":5"#) && !text.contains(r#""prompt_tokens":9"#), "{text}");
        assert_eq!(body.over(Some(&RawValue::from_string("null".to_owned()).unwrap())), body.over(None));
        let ours = body.over(None);
        let names = |object: &str| Fields::parse(object.as_bytes()).unwrap().0.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        let inner = |name: &str| names(Fields::parse(ours.as_bytes()).unwrap().get(name).unwrap().get());
        assert!(names(&ours).iter().all(|name| MEMBERS.contains(&name.as_str())), "{ours}");
        assert_eq!(inner("prompt_tokens_details"), PROMPT_DETAILS);
        assert_eq!(inner("completion_tokens_details"), COMPLETION_DETAILS);
    }
}
