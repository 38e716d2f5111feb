//! `usageMetadata`: read from providers into disjoint classes, and written to clients, with the charge beside it.

use events::CostStatus;
use events::usage::Tokens;
use serde::Serialize;
use serde_json::value::RawValue;

use super::spelling::{count_of, list_of, object, text_of};
use crate::answer::{Billed, Names};
use crate::fields::Fields;
use crate::usage::Usage;

/// Reads a usage; `None` if it has no counts. Counts are cumulative, so the last report holds.
///
/// Cached tokens are inside the prompt, thoughts are beside the candidates, and the prompts of Google's own tools are beside both. A part
/// larger than its whole is cut to it.
#[must_use]
pub fn read(raw: &RawValue) -> Option<Usage> {
    let usage = object(raw)?;
    let count = |name: &str| count_of(&usage, name);
    let total = count("totalTokenCount");
    let (tools, candidates, reasoning) = (count("toolUsePromptTokenCount"), count("candidatesTokenCount"), count("thoughtsTokenCount"));
    let (tools, candidates, reasoning) = (tools.unwrap_or(0), candidates.unwrap_or(0), reasoning.unwrap_or(0));
    let others = tools.saturating_add(candidates).saturating_add(reasoning);
    let prompt = count("promptTokenCount").or_else(|| Some(total?.saturating_sub(others)))?;
    let is_inconsistent = total.is_some_and(|total| total != prompt.saturating_add(others));
    let prompt = prompt.saturating_add(tools);
    let cache_read = count("cachedContentTokenCount").unwrap_or(0).min(prompt);
    let mut input = prompt - cache_read;
    let cached_audio = modality(&usage, "cacheTokensDetails", "AUDIO");
    let audio_input = modality(&usage, "promptTokensDetails", "AUDIO").saturating_sub(cached_audio).min(input);
    input -= audio_input;
    let audio_output = modality(&usage, "candidatesTokensDetails", "AUDIO").min(candidates);
    let image_output = modality(&usage, "candidatesTokensDetails", "IMAGE").min(candidates - audio_output);
    let output = candidates - audio_output - image_output;
    let tokens = Tokens { input, cache_read, output, reasoning, audio_input, audio_output, image_output, ..Tokens::ZERO };
    Some(Usage { is_inconsistent, ..Usage::complete(tokens) })
}

/// Returns the tokens of one modality in a list of details.
fn modality(usage: &Fields<'_>, list: &str, modality: &str) -> u64 {
    let of = |raw: &RawValue| {
        let detail = object(raw)?;
        let is_it = text_of(&detail, "modality").is_some_and(|name| name.eq_ignore_ascii_case(modality));
        count_of(&detail, "tokenCount").filter(|_| is_it)
    };
    list_of(usage, list).into_iter().filter_map(of).fold(0, u64::saturating_add)
}

/// The usage that a client is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageBody {
    prompt_token_count: u64,
    candidates_token_count: u64,
    total_token_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    cached_content_token_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    thoughts_token_count: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prompt_tokens_details: Vec<DetailBody>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    candidates_tokens_details: Vec<DetailBody>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DetailBody {
    modality: &'static str,
    token_count: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl UsageBody {
    /// Returns the usage of a charge.
    #[must_use]
    pub fn new(tokens: &Tokens) -> Self {
        let candidates = tokens.completion().saturating_sub(tokens.reasoning);
        Self {
            prompt_token_count: tokens.prompt(),
            candidates_token_count: candidates,
            total_token_count: tokens.total(),
            cached_content_token_count: tokens.cache_read,
            thoughts_token_count: tokens.reasoning,
            prompt_tokens_details: details(tokens.prompt(), tokens.audio_input, tokens.image_input),
            candidates_tokens_details: details(candidates, tokens.audio_output, tokens.image_output),
        }
    }
}

/// Returns the tokens by modality; none if all are text.
fn details(all: u64, audio: u64, image: u64) -> Vec<DetailBody> {
    if audio == 0 && image == 0 {
        return Vec::new();
    }
    let text = all.saturating_sub(audio).saturating_sub(image);
    let each = [("TEXT", text), ("AUDIO", audio), ("IMAGE", image)].into_iter();
    each.filter(|(_, count)| *count > 0).map(|(modality, token_count)| DetailBody { modality, token_count }).collect()
}

/// The charge, in the member `arouter`.
#[derive(Debug, Serialize)]
pub struct ChargeBody<'a> {
    /// The cost in USD; null if unknown.
    cost: Option<Box<RawValue>>,
    generation_id: &'a str,
    provider: &'a str,
}

impl<'a> ChargeBody<'a> {
    /// Returns the charge of a request.
    #[must_use]
    pub fn new(billed: &Billed, names: &Names<'a>) -> Self {
        let cost = (billed.status != CostStatus::Unknown).then(|| billed.cost.to_json());
        Self { cost, generation_id: names.id, provider: names.provider }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Usage> {
        read(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn classes_are_disjoint_and_sum_to_googles_total() {
        let usage = of(r#"{"promptTokenCount":100,"cachedContentTokenCount":40,"toolUsePromptTokenCount":7,"candidatesTokenCount":30,
            "thoughtsTokenCount":20,"totalTokenCount":157,"promptTokensDetails":[{"modality":"TEXT","tokenCount":85},{"modality":"AUDIO","tokenCount":15}],
            "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":5}],
            "candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":4},{"modality":"IMAGE","tokenCount":6}]}"#)
        .unwrap();
        let tokens = usage.tokens;
        assert_eq!((tokens.input, tokens.cache_read, tokens.audio_input), (57, 40, 10));
        assert_eq!((tokens.output, tokens.reasoning, tokens.audio_output, tokens.image_output), (20, 20, 4, 6));
        assert_eq!((tokens.total(), usage.is_inconsistent), (157, false));
    }

    #[test]
    fn absent_counts_are_zero_but_no_counts_are_no_usage() {
        assert_eq!(of("{}"), None);
        assert_eq!(of(r#"{"trafficType":"ON_DEMAND"}"#), None);
        assert_eq!(of(r#"{"prompt_token_count":5}"#).unwrap().tokens, Tokens { input: 5, ..Tokens::ZERO });
        assert_eq!(of(r#"{"totalTokenCount":9,"candidatesTokenCount":4}"#).unwrap().tokens, Tokens { input: 5, output: 4, ..Tokens::ZERO });
        assert!(of(r#"{"promptTokenCount":5,"totalTokenCount":9}"#).unwrap().is_inconsistent);
        let cut = of(r#"{"promptTokenCount":5,"cachedContentTokenCount":9,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":9}]}"#)
            .unwrap();
        assert_eq!(cut.tokens.prompt(), 5, "a part larger than its whole is cut");
    }

    #[test]
    fn a_written_usage_reads_the_same() {
        let tokens =
            Tokens { input: 3, cache_read: 2, output: 4, reasoning: 1, audio_input: 5, audio_output: 6, image_output: 7, ..Tokens::ZERO };
        let text = serde_json::to_string(&UsageBody::new(&tokens)).unwrap();
        let usage = of(&text).unwrap();
        assert_eq!((usage.tokens, usage.is_inconsistent), (tokens, false), "{text}");
        let plain = serde_json::to_string(&UsageBody::new(&Tokens { input: 3, output: 4, ..Tokens::ZERO })).unwrap();
        assert_eq!(plain, r#"{"promptTokenCount":3,"candidatesTokenCount":4,"totalTokenCount":7}"#);
    }
}
