//! The prices of one model: decimal strings in USD per unit outside, integer pico-USD inside.

use events::money::{MoneyError, scaled};
use events::usage::UnitPrices;
use serde::{Deserialize, Serialize};

/// Decimals kept of a price in USD per unit: pico-USD.
const PICO_PLACES: i32 = 12;

/// OpenAI's processing tiers with prices of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// What applies when nothing is asked.
    #[default]
    Default,
    /// Slower and cheaper.
    Flex,
    /// Faster and dearer.
    Priority,
}

impl ServiceTier {
    /// The tier of that name; names without prices of their own (`auto`, `default`, `scale` …) are the default.
    #[must_use]
    pub fn named(name: Option<&str>) -> Self {
        match name {
            Some("flex") => Self::Flex,
            Some("priority") => Self::Priority,
            _ => Self::Default,
        }
    }
}

/// Prices as written in a list: USD per token (per request for `request`) as decimal strings; absent = see each default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceRow {
    /// Prompt token.
    pub prompt: String,
    /// Completion token.
    pub completion: String,
    /// Prompt token from a cache; default: `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<String>,
    /// Prompt token to a 5-minute cache; default: `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_5m: Option<String>,
    /// Prompt token to a 1-hour cache; default: `cache_write_5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<String>,
    /// Reasoning token; default: `completion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Audio token in; default: `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input: Option<String>,
    /// Audio token out; default: `completion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output: Option<String>,
    /// Image token in; default: `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_input: Option<String>,
    /// Image token out; default: `completion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_output: Option<String>,
    /// Each request; default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Applies to prompts of more tokens than this.
    #[serde(skip_serializing_if = "is_zero")]
    pub above_prompt_tokens: u64,
    /// Applies to this tier.
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

/// Why a price is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Not a decimal number of USD, finer than a pico-USD, or absurdly large.
    #[error("price {field} = {text:?}: {cause}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
        /// What is wrong with it.
        cause: MoneyError,
    },
    /// Below zero.
    #[error("price {field} = {text:?} is negative")]
    Negative {
        /// The field.
        field: &'static str,
        /// What stands there.
        text: String,
    },
    /// A model without any price row.
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
    /// Every other row: from how many prompt tokens and in which tier it applies.
    rows: Vec<(u64, ServiceTier, UnitPrices)>,
}

impl ModelPrices {
    /// Reads the rows of a list; the row without threshold and tier is the base.
    ///
    /// # Errors
    /// When a price is malformed or there is no base row.
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
        // The most specific row comes first: its tier, then the highest threshold.
        others.sort_by_key(|(above, tier, _)| (*tier == ServiceTier::Default, std::cmp::Reverse(*above)));
        base.map(|base| Self { base, rows: others }).ok_or(PriceError::Missing)
    }

    /// The prices for a prompt of that many tokens in that tier.
    #[must_use]
    pub fn at(&self, prompt_tokens: u64, tier: ServiceTier) -> &UnitPrices {
        self.rows
            .iter()
            .find(|(above, of, _)| prompt_tokens > *above && (*of == tier || *of == ServiceTier::Default))
            .map_or(&self.base, |(_, _, prices)| prices)
    }

    /// The rows that a prompt of at most that many tokens may be charged by.
    pub(crate) fn possible(&self, prompt_tokens_max: u64, tier: ServiceTier) -> impl Iterator<Item = &UnitPrices> {
        let rows =
            self.rows.iter().filter(move |(above, of, _)| prompt_tokens_max > *above && (*of == tier || *of == ServiceTier::Default));
        std::iter::once(&self.base).chain(rows.map(|(_, _, prices)| prices))
    }
}
