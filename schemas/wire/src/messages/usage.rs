//! Anthropic's `usage` object: read from providers into disjoint classes, and written to clients.

use events::CostStatus;
use events::usage::Tokens;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::answer::{Billed, Names};
use crate::fields::quoted;
use crate::usage::{Omitted, Usage};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reported {
    #[serde(deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<Lifetimes>,
    #[serde(deserialize_with = "count")]
    output_tokens: Option<u64>,
    output_tokens_details: Option<Details>,
    /// One entry per inner call, with Anthropic's betas.
    iterations: Option<Vec<Iteration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lifetimes {
    #[serde(deserialize_with = "count")]
    ephemeral_5m_input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(deserialize_with = "count")]
    thinking_tokens: Option<u64>,
}

/// The usage of an inner call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Iteration {
    r#type: Value,
    #[serde(deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    cache_read_input_tokens: Option<u64>,
    #[serde(deserialize_with = "count")]
    output_tokens: Option<u64>,
}

/// Reads a count. Any other value counts as absent.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(<&RawValue>::deserialize(deserializer)?.get().parse().ok())
}

/// Reads a provider's `usage`; returns `None` if it has no counts. A report of a stream leaves out the classes that an earlier one holds.
///
/// `input_tokens` is without cached and written tokens, `output_tokens` is with thinking. The totals leave out the inner calls that compact
/// the conversation, so these are added.
#[must_use]
pub fn read(usage: &RawValue) -> Option<Usage> {
    let reported: Reported = serde_json::from_str(usage.get()).ok()?;
    if reported.input_tokens.is_none() && reported.output_tokens.is_none() {
        return None;
    }
    let total = reported.cache_creation_input_tokens;
    let lifetimes = reported.cache_creation.as_ref();
    let long = lifetimes.and_then(|split| split.ephemeral_1h_input_tokens).unwrap_or(0);
    let short = lifetimes.and_then(|split| split.ephemeral_5m_input_tokens).unwrap_or(0);
    let split = short.saturating_add(long);
    let written = total.unwrap_or(split).max(split);
    let thinking = reported.output_tokens_details.as_ref().and_then(|details| details.thinking_tokens);
    let output = reported.output_tokens.unwrap_or(0);
    let reasoning = thinking.unwrap_or(0).min(output);
    let mut tokens = Tokens {
        input: reported.input_tokens.unwrap_or(0),
        cache_read: reported.cache_read_input_tokens.unwrap_or(0),
        cache_write_5m: written - long,
        cache_write_1h: long,
        output: output - reasoning,
        reasoning,
        ..Tokens::ZERO
    };
    for inner in reported.iterations.iter().flatten().filter(|inner| inner.r#type == "compaction") {
        let add = |to: &mut u64, more: Option<u64>| *to = to.saturating_add(more.unwrap_or(0));
        add(&mut tokens.input, inner.input_tokens);
        add(&mut tokens.cache_write_5m, inner.cache_creation_input_tokens);
        add(&mut tokens.cache_read, inner.cache_read_input_tokens);
        add(&mut tokens.output, inner.output_tokens);
    }
    Some(Usage {
        tokens,
        is_inconsistent: lifetimes.is_some() && written != split || thinking.is_some_and(|thinking| thinking > output),
        omitted: Omitted {
            input: reported.input_tokens.is_none(),
            cache_read: reported.cache_read_input_tokens.is_none(),
            cache_write: total.is_none() && lifetimes.is_none(),
            cache_lifetimes: total.is_some() && lifetimes.is_none(),
            reasoning: thinking.is_none(),
        },
    })
}

/// Reads the tier of a `usage` in OpenAI's words.
#[must_use]
pub fn service_tier(usage: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Tier {
        service_tier: Option<String>,
    }
    let tier = serde_json::from_str::<Tier>(usage.get()).ok()?.service_tier?;
    Some(if tier == "standard" { "default".to_owned() } else { tier })
}

/// The usage that a client is told. Audio and images count as fresh input.
#[derive(Debug, Serialize)]
pub struct UsageBody {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: LifetimesBody,
    output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<DetailsBody>,
}

#[derive(Debug, Serialize)]
struct LifetimesBody {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Debug, Serialize)]
struct DetailsBody {
    thinking_tokens: u64,
}

impl UsageBody {
    #[must_use]
    pub fn new(tokens: &Tokens) -> Self {
        Self {
            input_tokens: tokens.prompt().saturating_sub(tokens.cache_read).saturating_sub(tokens.cache_write()),
            cache_creation_input_tokens: tokens.cache_write(),
            cache_read_input_tokens: tokens.cache_read,
            cache_creation: LifetimesBody {
                ephemeral_5m_input_tokens: tokens.cache_write_5m,
                ephemeral_1h_input_tokens: tokens.cache_write_1h,
            },
            output_tokens: tokens.completion(),
            output_tokens_details: (tokens.reasoning > 0).then_some(DetailsBody { thinking_tokens: tokens.reasoning }),
        }
    }
}

/// Returns the charge and the origin of an answer as JSON text, the value of `arouter` beside `usage`.
#[must_use]
pub fn charge(names: &Names<'_>, billed: &Billed) -> String {
    let cost = (billed.status != CostStatus::Unknown).then(|| billed.cost.to_json());
    let cost = cost.as_ref().map_or("null", |cost| cost.get());
    format!(r#"{{"cost":{cost},"generation_id":{},"provider":{}}}"#, names.id_json, quoted(names.provider))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn usage(text: &str) -> Option<Usage> {
        read(&RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn classes_are_disjoint() {
        let usage = usage(
            r#"{"input_tokens":10,"cache_creation_input_tokens":7,"cache_read_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":3,
            "ephemeral_1h_input_tokens":4},"output_tokens":20,"output_tokens_details":{"thinking_tokens":15},"service_tier":"standard"}"#,
        )
        .unwrap();
        let tokens = usage.tokens;
        assert_eq!((tokens.input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h), (10, 5, 3, 4));
        assert_eq!((tokens.output, tokens.reasoning, usage.is_inconsistent), (5, 15, false));
        assert_eq!(usage.omitted, Omitted::default());
    }

    #[test]
    fn a_report_of_a_stream_replaces_only_what_it_says() {
        let first = usage(
            r#"{"input_tokens":10,"cache_creation_input_tokens":7,"cache_read_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":3,
            "ephemeral_1h_input_tokens":4},"output_tokens":1}"#,
        );
        let last = usage(r#"{"output_tokens":50,"input_tokens":null,"cache_creation_input_tokens":7}"#).unwrap().after(first).tokens;
        assert_eq!((last.input, last.cache_read, last.cache_write_5m, last.cache_write_1h, last.output), (10, 5, 3, 4, 50));
    }

    #[test]
    fn written_tokens_without_a_lifetime_live_five_minutes() {
        let tokens = usage(r#"{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":9}"#).unwrap().tokens;
        assert_eq!((tokens.cache_write_5m, tokens.cache_write_1h), (9, 0));
        let more = usage(r#"{"input_tokens":1,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_1h_input_tokens":4}}"#).unwrap();
        assert_eq!((more.tokens.cache_write_5m, more.tokens.cache_write_1h, more.is_inconsistent), (5, 4, true));
    }

    #[test]
    fn compactions_are_added_to_the_totals() {
        let text = r#"{"input_tokens":1,"output_tokens":2,"iterations":[{"type":"compaction","input_tokens":100,"output_tokens":30,
            "cache_read_input_tokens":4,"cache_creation_input_tokens":0,"cache_creation":null},{"type":"message","input_tokens":1,"output_tokens":2}]}"#;
        let tokens = usage(text).unwrap().tokens;
        assert_eq!((tokens.input, tokens.cache_read, tokens.output), (101, 4, 32));
    }

    #[test]
    fn nothing_said_is_not_zero() {
        for text in ["null", "{}", r#"{"input_tokens":-1,"output_tokens":null}"#, r#"{"prompt_tokens":1}"#] {
            assert_eq!(usage(text), None, "{text}");
        }
    }

    #[test]
    fn written_usage_reads_back() {
        let tokens = Tokens { cache_write_1h: 4, cache_write_5m: 1, ..testing::billed().tokens };
        let text = serde_json::to_string(&UsageBody::new(&tokens)).unwrap();
        assert_eq!(usage(&text).unwrap(), Usage::complete(tokens));
    }

    #[test]
    fn an_unknown_cost_is_null() {
        let mut billed = testing::billed();
        assert_eq!(charge(&testing::NAMES, &billed), r#"{"cost":0.0000015,"generation_id":"gen-1","provider":"p"}"#);
        billed.status = CostStatus::Unknown;
        assert_eq!(charge(&testing::NAMES, &billed), r#"{"cost":null,"generation_id":"gen-1","provider":"p"}"#);
    }
}
