//! OpenAI's `usage` object: read from providers into disjoint classes, written to clients with the cost.

use events::usage::Tokens;
use events::{CostStatus, Nanos};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reported {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

/// Reads a provider's `usage`; OpenAI's counts are cumulative, the last one holds. `None` when it gives no counts.
///
/// OpenAI counts cached and audio tokens inside `prompt_tokens`, reasoning and audio inside `completion_tokens`; DeepSeek names
/// cached ones `prompt_cache_hit_tokens`. A part larger than its whole is cut to it.
#[must_use]
pub fn read(usage: &RawValue) -> Option<Tokens> {
    let reported: Reported = serde_json::from_str(usage.get()).ok()?;
    let (prompt, completion) = (reported.prompt_tokens?, reported.completion_tokens.unwrap_or(0));
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
    let details = reported.completion_tokens_details.unwrap_or_default();
    let reasoning = details.reasoning_tokens.unwrap_or(0).min(completion);
    let audio_output = details.audio_tokens.unwrap_or(0).min(completion - reasoning);
    let output = completion - reasoning - audio_output;
    Some(Tokens { input, cache_read, cache_write_5m, output, reasoning, audio_input, audio_output, ..Tokens::default() })
}

/// What a client is told it used and pays. Source: section 8 of the product's API facts, decision 9.
#[derive(Debug, Serialize)]
pub struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    /// USD; null when unknown.
    cost: Option<Box<RawValue>>,
    is_byok: bool,
    prompt_tokens_details: PromptDetailsBody,
    completion_tokens_details: CompletionDetailsBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttft_ms: Option<u64>,
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

/// How long a request took, microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// From admission to the end.
    pub latency_us: Option<u64>,
    /// From admission to the first piece of the answer.
    pub ttft_us: Option<u64>,
}

impl UsageBody {
    /// The body for these counts and this charge.
    #[must_use]
    pub fn new(tokens: &Tokens, status: CostStatus, cost: Nanos, timing: Timing) -> Self {
        Self {
            prompt_tokens: tokens.prompt(),
            completion_tokens: tokens.completion(),
            total_tokens: tokens.total(),
            cost: (status != CostStatus::Unknown).then(|| cost.to_json()),
            is_byok: false,
            prompt_tokens_details: PromptDetailsBody {
                cached_tokens: tokens.cache_read,
                cache_write_tokens: tokens.cache_write(),
                audio_tokens: tokens.audio_input,
            },
            completion_tokens_details: CompletionDetailsBody { reasoning_tokens: tokens.reasoning, audio_tokens: tokens.audio_output },
            latency_ms: timing.latency_us.map(|us| us / 1_000),
            ttft_ms: timing.ttft_us.map(|us| us / 1_000),
        }
    }

    /// As JSON text.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Tokens> {
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
    fn nothing_said_is_not_zero() {
        assert_eq!(of("null"), None);
        assert_eq!(of("{}"), None);
        assert_eq!(of(r#"{"prompt_tokens":-1}"#), None);
        assert_eq!(of(r#"{"prompt_tokens":3,"prompt_tokens_details":null}"#).unwrap().input, 3);
    }
}
