//! The prices of one model: decimal strings in USD per unit outside, integer pico-USD inside.

use events::money::{MoneyError, scaled};
use events::usage::UnitPrices;
use serde::{Deserialize, Serialize};

/// The decimal places of a price in USD per unit: pico-USD.
const PICO_PLACES: i32 = 12;

/// OpenAI's processing tiers that have their own prices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// The tier of requests that name none.
    #[default]
    Default,
    /// A slower and cheaper tier.
    Flex,
    /// A faster and more expensive tier.
    Priority,
}

impl ServiceTier {
    /// Returns the tier of that name; names without their own prices (`auto`, `default`, `scale` …) give the default tier.
    #[must_use]
    pub fn named(name: Option<&str>) -> Self {
        match name {
            Some("flex") => Self::Flex,
            Some("priority") => Self::Priority,
            _ => Self::Default,
        }
    }
}

/// Prices as a list states them: decimal strings in USD per token (per request for `request`); each optional price has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceRow {
    /// Price of a prompt token.
    pub prompt: String,
    /// Price of a completion token.
    pub completion: String,
    /// Price of a prompt token read from a cache; default: `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<String>,
    /// Price of a prompt token written to a 5-minute cache; default: `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_5m: Option<String>,
    /// Price of a prompt token written to a 1-hour cache; default: `cache_write_5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<String>,
    /// Price of a reasoning token; default: `completion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Price of an audio input token; default: `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<String>,
    /// Price of an audio output token; default: `completion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<String>,
    /// Price of an image input token; default: `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_input: Option<String>,
    /// Price of an image output token; default: `completion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_output: Option<String>,
    /// Price of each request; default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The number of prompt tokens above which the row applies.
    #[serde(skip_serializing_if = "is_zero")]
    pub above_prompt_tokens: u64,
    /// The service tier to which the row applies.
    #[serde(skip_serializing_if = "is_default")]
    pub service_tier: ServiceTier,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_default(tier: &ServiceTier) -> bool {
    *tier == ServiceTier::Default
}

/// The reason why a price is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The text is no decimal number of USD, is finer than a pico-USD, or is out of range.
    #[error("price {field} = {text:?}: {cause}")]
    Malformed {
        field: &'static str,
        /// The text of the field.
        text: String,
        cause: MoneyError,
    },
    #[error("price {field} = {text:?} is negative")]
    Negative {
        field: &'static str,
        /// The text of the field.
        text: String,
    },
    /// The model has no base price row.
    #[error("no price")]
    Missing,
}

impl PriceRow {
    fn unit_prices(&self) -> Result<UnitPrices, PriceError> {
        let input = pico("prompt", &self.prompt)?;
        let output = pico("completion", &self.completion)?;
        let or = |field, text: &Option<String>, default| text.as_ref().map_or(Ok(default), |text| pico(field, text));
        let cache_write_5m = or("cache_write_5m", &self.cache_write_5m, input)?;
        Ok(UnitPrices {
            input,
            cache_read: or("cache_read", &self.cache_read, input)?,
            cache_write_5m,
            cache_write_1h: or("cache_write_1h", &self.cache_write_1h, cache_write_5m)?,
            output,
            reasoning: or("reasoning", &self.reasoning, output)?,
            audio_input: or("audio_input", &self.audio_input, input)?,
            audio_output: or("audio_output", &self.audio_output, output)?,
            image_input: or("image_input", &self.image_input, input)?,
            image_output: or("image_output", &self.image_output, output)?,
            request: or("request", &self.request, 0)?,
        })
    }
}

fn pico(field: &'static str, text: &str) -> Result<i64, PriceError> {
    let malformed = |cause| PriceError::Malformed { field, text: text.to_owned(), cause };
    let value = scaled(text, PICO_PLACES).map_err(malformed)?;
    if value < 0 {
        return Err(PriceError::Negative { field, text: text.to_owned() });
    }
    i64::try_from(value).map_err(|_| malformed(MoneyError::OutOfRange))
}

/// All prices of one model, ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPrices {
    base: UnitPrices,
    /// All other rows: threshold in prompt tokens, tier, prices.
    rows: Vec<(u64, ServiceTier, UnitPrices)>,
}

impl ModelPrices {
    /// Parses the rows of a list; the row without threshold and tier is the base.
    ///
    /// # Errors
    /// Fails if a price is malformed or there is no base row.
    pub fn try_new(rows: &[PriceRow]) -> Result<Self, PriceError> {
        let mut base = None;
        let mut others = Vec::new();
        for row in rows {
            let prices = row.unit_prices()?;
            if row.above_prompt_tokens == 0 && row.service_tier == ServiceTier::Default {
                base = Some(prices);
            } else {
                others.push((row.above_prompt_tokens, row.service_tier, prices));
            }
        }
        // The most specific row comes first: a row with its own tier, then the highest threshold.
        others.sort_by_key(|(above, tier, _)| (*tier == ServiceTier::Default, std::cmp::Reverse(*above)));
        base.map(|base| Self { base, rows: others }).ok_or(PriceError::Missing)
    }

    /// Returns the prices for a prompt of that many tokens in that tier.
    #[must_use]
    pub fn at(&self, prompt_tokens: u64, tier: ServiceTier) -> &UnitPrices {
        self.rows
            .iter()
            .find(|(above, of, _)| prompt_tokens > *above && (*of == tier || *of == ServiceTier::Default))
            .map_or(&self.base, |(_, _, prices)| prices)
    }

    /// Returns all price rows that may apply to a prompt of at most `prompt_tokens_max` tokens.
    pub(crate) fn possible(&self, prompt_tokens_max: u64, tier: ServiceTier) -> impl Iterator<Item = &UnitPrices> {
        let rows =
            self.rows.iter().filter(move |(above, of, _)| prompt_tokens_max > *above && (*of == tier || *of == ServiceTier::Default));
        std::iter::once(&self.base).chain(rows.map(|(_, _, prices)| prices))
    }
}
