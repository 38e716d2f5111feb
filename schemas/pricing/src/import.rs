//! Converts LiteLLM's public price format (`model_prices_and_context_window.json`, MIT licence) to the gateway's own.
//!
//! The field names come from that file. Its prices are JSON numbers in USD per token. They are parsed as text, so that no binary fraction
//! distorts them. A price finer than a pico-USD, an artefact of float arithmetic in the source, is rounded half up.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::catalog::{Catalog, ModelEntry};
use crate::known_providers;
use crate::price::{PriceRow, ServiceTier};

/// LiteLLM's capability flags and the gateway's names for them.
const CAPABILITIES: [(&str, &str); 7] = [
    ("supports_function_calling", "tools"),
    ("supports_parallel_function_calling", "parallel_tool_calls"),
    ("supports_response_schema", "structured_outputs"),
    ("supports_reasoning", "reasoning"),
    ("supports_vision", "vision"),
    ("supports_audio_input", "audio_input"),
    ("supports_pdf_input", "pdf_input"),
];

/// Prompt sizes above which some providers charge other prices.
const THRESHOLDS: [(u64, &str); 5] = [
    (0, ""),
    (100_000, "_above_100k_tokens"),
    (128_000, "_above_128k_tokens"),
    (200_000, "_above_200k_tokens"),
    (272_000, "_above_272k_tokens"),
];

const TIERS: [(ServiceTier, &str); 3] = [(ServiceTier::Default, ""), (ServiceTier::Flex, "_flex"), (ServiceTier::Priority, "_priority")];

/// The context length of a model for which the list gives none.
const CONTEXT_DEFAULT: u64 = 4_096;

/// The result of an import.
#[derive(Debug)]
pub struct Imported {
    pub catalog: Catalog,
    /// Skipped entries with the reason, such as `gemini/lyria: no price`.
    pub skipped: Vec<String>,
}

/// The file is not in LiteLLM's format.
#[derive(Debug, thiserror::Error)]
#[error("not a price list in LiteLLM's format: {0}")]
pub struct ImportError(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow, flatten)]
    fields: BTreeMap<&'a str, &'a RawValue>,
}

impl Row<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.fields.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    fn count(&self, name: &str) -> Option<u64> {
        let text = self.fields.get(name)?.get();
        text.parse().ok().or_else(|| text.strip_suffix(".0")?.parse().ok()).filter(|count| *count > 0)
    }

    fn is_true(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|raw| raw.get() == "true")
    }

    fn price(&self, name: &str) -> Option<String> {
        self.fields.get(name).and_then(|raw| decimal(raw.get()))
    }
}

/// Imports a list; every charge names its `version`.
///
/// # Errors
/// Fails if the text is not in LiteLLM's format.
pub fn litellm(text: &str, version: &str, source: &str) -> Result<Imported, ImportError> {
    let rows: BTreeMap<&str, &RawValue> = serde_json::from_str(text)?;
    let mut models = BTreeMap::new();
    let mut skipped = Vec::new();
    for (name, raw) in rows {
        if name == "sample_spec" {
            continue;
        }
        let row = Row { fields: serde_json::from_str(raw.get())? };
        match entry(name, &row) {
            Ok(Some(entry)) => {
                models.insert(entry.id.clone(), entry);
            }
            Ok(None) => {}
            Err(reason) => skipped.push(format!("{name}: {reason}")),
        }
    }
    let catalog = Catalog { version: version.to_owned(), source: source.to_owned(), models: models.into_values().collect() };
    Ok(Imported { catalog, skipped })
}

/// Returns the model, `None` if its provider or mode is not supported, or the reason why it is skipped.
fn entry(name: &str, row: &Row<'_>) -> Result<Option<ModelEntry>, &'static str> {
    let provider = row.text("litellm_provider").unwrap_or_default();
    let Some(known) = known_providers::ALL.iter().find(|known| known.litellm == provider) else {
        return Ok(None);
    };
    if !matches!(row.text("mode").as_deref(), Some("chat" | "responses")) {
        return Ok(None);
    }
    let own_name = name.strip_prefix(known.litellm).and_then(|rest| rest.strip_prefix('/'));
    let upstream_model = own_name.unwrap_or(name).to_owned();
    let slug = known.slug;
    let prices = prices(row);
    if prices.first().is_none_or(|base| base.above_prompt_tokens > 0 || base.service_tier != ServiceTier::Default) {
        return Err("no price");
    }
    let context_length = row.count("max_input_tokens").or_else(|| row.count("max_tokens")).unwrap_or(CONTEXT_DEFAULT);
    let max_output_tokens = row.count("max_output_tokens").or_else(|| row.count("max_tokens")).unwrap_or(context_length);
    let capabilities = CAPABILITIES.iter().filter(|(flag, _)| row.is_true(flag)).map(|(_, word)| (*word).to_owned()).collect();
    Ok(Some(ModelEntry {
        id: format!("{slug}/{upstream_model}"),
        provider: slug.to_owned(),
        upstream_model,
        context_length,
        max_output_tokens,
        capabilities,
        prices,
    }))
}

fn prices(row: &Row<'_>) -> Vec<PriceRow> {
    let mut rows = Vec::new();
    for (above_prompt_tokens, above) in THRESHOLDS {
        for (service_tier, tier) in TIERS {
            let of = |name: &str| row.price(&format!("{name}{above}{tier}"));
            let (Some(prompt), Some(completion)) = (of("input_cost_per_token"), of("output_cost_per_token")) else {
                continue;
            };
            rows.push(PriceRow {
                prompt,
                completion,
                cache_read: of("cache_read_input_token_cost").or_else(|| of("input_cost_per_token_cache_hit")),
                cache_write_5m: of("cache_creation_input_token_cost"),
                cache_write_1h: of("cache_creation_input_token_cost_above_1hr"),
                reasoning: of("output_cost_per_reasoning_token"),
                audio_input: of("input_cost_per_audio_token"),
                audio_output: of("output_cost_per_audio_token"),
                image_input: of("input_cost_per_image_token"),
                image_output: of("output_cost_per_image_token"),
                request: None,
                above_prompt_tokens,
                service_tier,
            });
        }
    }
    rows
}

/// Converts a JSON number to a plain decimal with at most 12 places, rounded half up; `None` for null, text and negative numbers.
fn decimal(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    let shift = exponent - i32::try_from(fraction.len()).ok()? + 12;
    let power = 10_i128.checked_pow(shift.unsigned_abs())?;
    let picos = if shift >= 0 { value.checked_mul(power)? } else { (value + power / 2) / power };
    let (usd, rest) = (picos / 1_000_000_000_000, picos % 1_000_000_000_000);
    let text = format!("{usd}.{rest:012}");
    Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_and_artefacts_are_rounded() {
        for (number, text) in [
            ("5e-07", Some("0.0000005")),
            ("1.5e-06", Some("0.0000015")),
            ("0", Some("0")),
            ("0.00002", Some("0.00002")),
            ("9.999999999999999e-08", Some("0.0000001")),
            ("null", None),
            ("-1", None),
        ] {
            assert_eq!(decimal(number).as_deref(), text, "{number}");
        }
    }

    #[test]
    fn tiers_and_thresholds_become_rows() {
        let list = r#"{"gemini/g": {"litellm_provider": "gemini", "mode": "chat", "max_input_tokens": 1000000, "max_output_tokens": 64,
            "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "input_cost_per_token_above_200k_tokens": 2e-6,
            "output_cost_per_token_above_200k_tokens": 3e-6, "input_cost_per_token_flex": 5e-7, "output_cost_per_token_flex": 1e-6},
            "x": {"litellm_provider": "gemini", "mode": "chat"}, "y": {"litellm_provider": "nobody", "mode": "chat"}}"#;
        let imported = litellm(list, "v", "s").unwrap();
        assert_eq!(imported.skipped, ["x: no price"]);
        let model = &imported.catalog.models[0];
        assert_eq!((model.id.as_str(), model.provider.as_str(), model.prices.len()), ("google/g", "google", 3));
    }

    #[test]
    fn refuses_what_is_no_list() {
        assert!(litellm("[]", "v", "s").is_err());
        assert!(litellm("{\"a\": 1}", "v", "s").is_err());
    }
}
