//! The `usage` of an answer: read into disjoint classes, and written for clients, with the charge beside it.

use events::CostStatus;
use events::usage::Tokens;
use serde::Serialize;
use serde_json::value::RawValue;

use super::items::present;
use super::object::Object;
use crate::answer::{Billed, Names};
use crate::fields::Fields;
use crate::neutral::Json;
use crate::usage::Usage;

/// Returns a count, also in the form `12.0`. Any other value counts as absent.
fn count(fields: &Fields<'_>, name: &str) -> Option<u64> {
    let raw = fields.get(name)?.get();
    let whole = raw.split_once('.').filter(|(_, rest)| rest.bytes().all(|digit| digit == b'0')).map_or(raw, |(whole, _)| whole);
    whole.parse().ok()
}

fn inner<'a>(fields: &Fields<'a>, name: &str) -> Option<Fields<'a>> {
    Fields::parse(present(fields, name)?.get().as_bytes()).ok()
}

/// Reads a provider's `usage`; returns `None` if it has no counts. Cached and written tokens are part of `input_tokens`, and reasoning is
/// part of `output_tokens`. A part larger than its whole is cut to it.
#[must_use]
pub fn read(usage: &RawValue) -> Option<Usage> {
    let usage = Fields::parse(usage.get().as_bytes()).ok()?;
    let (prompt, completion) = (count(&usage, "input_tokens")?, count(&usage, "output_tokens").unwrap_or(0));
    let total = count(&usage, "total_tokens").unwrap_or_else(|| prompt.saturating_add(completion));
    let details = inner(&usage, "input_tokens_details");
    let detail = |name: &str| count(details.as_ref()?, name);
    let lifetimes = details.as_ref().and_then(|details| inner(details, "cache_write_tokens_details"));
    let mut input = prompt;
    let mut take = |count: u64| {
        let part = count.min(input);
        input -= part;
        part
    };
    let cache_read = take(detail("cached_tokens").unwrap_or(0));
    let long = lifetimes.as_ref().and_then(|lifetimes| count(lifetimes, "ttl_12h_tokens")).unwrap_or(0);
    let short = lifetimes.as_ref().and_then(|lifetimes| count(lifetimes, "ttl_30m_tokens")).unwrap_or(0);
    let written = take(detail("cache_write_tokens").unwrap_or_else(|| long.saturating_add(short)));
    let cache_write_1h = long.min(written);
    let reasoning = inner(&usage, "output_tokens_details").and_then(|details| count(&details, "reasoning_tokens")).unwrap_or(0);
    let reasoning = reasoning.min(completion);
    let tokens = Tokens {
        input,
        cache_read,
        cache_write_5m: written - cache_write_1h,
        cache_write_1h,
        output: completion - reasoning,
        reasoning,
        ..Tokens::ZERO
    };
    Some(Usage { is_inconsistent: total != prompt.saturating_add(completion), ..Usage::complete(tokens) })
}

/// The usage that a client is told.
#[derive(Debug, Serialize)]
pub struct UsageBody {
    input_tokens: u64,
    input_tokens_details: InputDetails,
    output_tokens: u64,
    output_tokens_details: OutputDetails,
    total_tokens: u64,
}

#[derive(Debug, Serialize)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Debug, Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

impl UsageBody {
    /// Creates the usage of a charge.
    #[must_use]
    pub fn new(tokens: &Tokens) -> Self {
        Self {
            input_tokens: tokens.prompt(),
            input_tokens_details: InputDetails { cached_tokens: tokens.cache_read, cache_write_tokens: tokens.cache_write() },
            output_tokens: tokens.completion(),
            output_tokens_details: OutputDetails { reasoning_tokens: tokens.reasoning },
            total_tokens: tokens.total(),
        }
    }
}

/// Returns the object `arouter` that stands beside the usage. The cost is in USD, and null if unknown.
pub fn charge(names: &Names<'_>, billed: &Billed) -> Json<'static> {
    let mut object = Object::new();
    object.put("cost", &(billed.status != CostStatus::Unknown).then(|| billed.cost.to_json()));
    object.put("generation_id", &names.id);
    object.put("provider", &names.provider);
    object.into_json()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn of(text: &str) -> Option<Usage> {
        read(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn classes_are_disjoint_and_sum_to_the_providers_total() {
        let usage = of(r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":60,"cache_write_tokens":30,
            "cache_write_tokens_details":{"ttl_30m_tokens":10,"ttl_12h_tokens":20}},"output_tokens":50,
            "output_tokens_details":{"reasoning_tokens":30},"total_tokens":150}"#)
        .unwrap();
        let tokens = usage.tokens;
        assert_eq!((tokens.input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h), (10, 60, 10, 20));
        assert_eq!((tokens.output, tokens.reasoning, usage.is_inconsistent), (20, 30, false));
        assert_eq!((tokens.prompt(), tokens.completion()), (100, 50));
    }

    #[test]
    fn a_part_larger_than_its_whole_is_cut_and_a_strange_total_is_reported() {
        let usage = of(r#"{"input_tokens":5.0,"input_tokens_details":{"cached_tokens":60},"output_tokens":1,"output_tokens_details":{"reasoning_tokens":9},"total_tokens":7}"#).unwrap();
        assert_eq!((usage.tokens.prompt(), usage.tokens.completion(), usage.is_inconsistent), (5, 1, true));
    }

    #[test]
    fn nothing_said_is_not_zero() {
        for text in ["null", "{}", "[]", r#"{"input_tokens":-1}"#, r#"{"input_tokens":"x"}"#] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_alike() {
        let tokens = testing::billed().tokens;
        assert_eq!(of(&serde_json::to_string(&UsageBody::new(&tokens)).unwrap()), Some(Usage::complete(tokens)));
        let unknown = Billed { status: CostStatus::Unknown, ..testing::billed() };
        assert_eq!(charge(&testing::NAMES, &unknown).get(), r#"{"cost":null,"generation_id":"gen-1","provider":"p"}"#);
        assert_eq!(charge(&testing::NAMES, &testing::billed()).get(), r#"{"cost":0.0000015,"generation_id":"gen-1","provider":"p"}"#);
    }
}
