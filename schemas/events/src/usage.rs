//! The usage of a request in disjoint classes, and the unit price of each class.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::money::Nanos;

/// A class of tokens. Every token belongs to exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenClass {
    Input,
    CacheRead,
    CacheWrite5m,
    CacheWrite1h,
    Output,
    Reasoning,
    AudioInput,
    AudioOutput,
    ImageInput,
    ImageOutput,
}

impl TokenClass {
    /// Every class.
    pub const ALL: [Self; 10] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::Output,
        Self::Reasoning,
        Self::AudioInput,
        Self::AudioOutput,
        Self::ImageInput,
        Self::ImageOutput,
    ];

    /// Returns whether the prompt holds these tokens; the others are in the completion.
    #[must_use]
    pub const fn is_prompt(self) -> bool {
        match self {
            Self::Input | Self::CacheRead | Self::CacheWrite5m | Self::CacheWrite1h | Self::AudioInput | Self::ImageInput => true,
            Self::Output | Self::Reasoning | Self::AudioOutput | Self::ImageOutput => false,
        }
    }
}

/// Token counts by class. The classes are disjoint: a token is counted in exactly one; sums are derived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tokens {
    /// Prompt tokens that no cache served.
    pub input: u64,
    /// Prompt tokens read from the provider's cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    /// Prompt tokens written to a cache that lives 5 minutes.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_5m: u64,
    /// Prompt tokens written to a cache that lives an hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// Completion tokens other than the classes below.
    pub output: u64,
    /// Completion tokens spent on reasoning.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// Audio tokens in the prompt.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_input: u64,
    /// Audio tokens in the completion.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_output: u64,
    /// Image tokens in the prompt.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_input: u64,
    /// Image tokens in the completion.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_output: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Tokens {
    /// No tokens at all.
    pub const ZERO: Self = Self {
        input: 0,
        cache_read: 0,
        cache_write_5m: 0,
        cache_write_1h: 0,
        output: 0,
        reasoning: 0,
        audio_input: 0,
        audio_output: 0,
        image_input: 0,
        image_output: 0,
    };

    /// Returns the count of a class.
    #[must_use]
    pub const fn get(&self, class: TokenClass) -> u64 {
        match class {
            TokenClass::Input => self.input,
            TokenClass::CacheRead => self.cache_read,
            TokenClass::CacheWrite5m => self.cache_write_5m,
            TokenClass::CacheWrite1h => self.cache_write_1h,
            TokenClass::Output => self.output,
            TokenClass::Reasoning => self.reasoning,
            TokenClass::AudioInput => self.audio_input,
            TokenClass::AudioOutput => self.audio_output,
            TokenClass::ImageInput => self.image_input,
            TokenClass::ImageOutput => self.image_output,
        }
    }

    fn sum(&self, of: impl Fn(TokenClass) -> bool) -> u64 {
        TokenClass::ALL.into_iter().filter(|class| of(*class)).fold(0, |sum, class| sum.saturating_add(self.get(class)))
    }

    /// Returns the tokens that fill the context, which APIs call `prompt_tokens`.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        self.sum(TokenClass::is_prompt)
    }

    /// Returns the tokens that the model produced, which APIs call `completion_tokens`.
    #[must_use]
    pub fn completion(&self) -> u64 {
        self.sum(|class| !class.is_prompt())
    }

    /// Returns the tokens written to caches of any lifetime.
    #[must_use]
    pub const fn cache_write(&self) -> u64 {
        self.cache_write_5m.saturating_add(self.cache_write_1h)
    }

    /// Returns the sum of prompt and completion tokens.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.prompt().saturating_add(self.completion())
    }
}

/// Prices in pico-USD (10⁻¹² USD) per token of each class and per request, with every default already resolved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UnitPrices {
    /// The price per prompt token that no cache served.
    pub input: i64,
    /// The price per prompt token read from a cache.
    #[serde(skip_serializing_if = "is_nothing")]
    pub cache_read: i64,
    /// The price per prompt token written to the 5-minute cache.
    #[serde(skip_serializing_if = "is_nothing")]
    pub cache_write_5m: i64,
    /// The price per prompt token written to the 1-hour cache.
    #[serde(skip_serializing_if = "is_nothing")]
    pub cache_write_1h: i64,
    /// The price per completion token.
    pub output: i64,
    /// The price per reasoning token.
    #[serde(skip_serializing_if = "is_nothing")]
    pub reasoning: i64,
    /// The price per audio token in the prompt.
    #[serde(skip_serializing_if = "is_nothing")]
    pub audio_input: i64,
    /// The price per audio token in the completion.
    #[serde(skip_serializing_if = "is_nothing")]
    pub audio_output: i64,
    /// The price per image token in the prompt.
    #[serde(skip_serializing_if = "is_nothing")]
    pub image_input: i64,
    /// The price per image token in the completion.
    #[serde(skip_serializing_if = "is_nothing")]
    pub image_output: i64,
    /// The price per request.
    #[serde(skip_serializing_if = "is_nothing")]
    pub request: i64,
}

impl UnitPrices {
    /// Returns the price per token of a class.
    #[must_use]
    pub const fn get(&self, class: TokenClass) -> i64 {
        match class {
            TokenClass::Input => self.input,
            TokenClass::CacheRead => self.cache_read,
            TokenClass::CacheWrite5m => self.cache_write_5m,
            TokenClass::CacheWrite1h => self.cache_write_1h,
            TokenClass::Output => self.output,
            TokenClass::Reasoning => self.reasoning,
            TokenClass::AudioInput => self.audio_input,
            TokenClass::AudioOutput => self.audio_output,
            TokenClass::ImageInput => self.image_input,
            TokenClass::ImageOutput => self.image_output,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_nothing(price: &i64) -> bool {
    *price == 0
}

/// The origin of token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// Reported by the provider.
    Reported,
    /// Counted by the gateway from the relayed response.
    Measured,
    /// Derived without seeing the response.
    Estimated,
    /// Unknown; shown as unknown, never as zero.
    Unknown,
}

impl Provenance {
    /// Returns the word that events, tables and responses use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Measured => "measured",
            Self::Estimated => "estimated",
            Self::Unknown => "unknown",
        }
    }
}

/// The kind of cost of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CostStatus {
    /// Tokens times prices.
    Priced,
    /// Free, because the operator marked the model so.
    Free,
    /// Not charged, though it has a price: the provider failed, or returned nothing.
    Waived,
    /// No usage or price is known.
    Unknown,
}

impl CostStatus {
    /// Returns the word that events, tables and responses use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Priced => "priced",
            Self::Free => "free",
            Self::Waived => "waived",
            Self::Unknown => "unknown",
        }
    }
}

/// The use of an account's own provider key. The provider bills the list price to the owner of the key, and the charge is the fee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Byok {
    /// The id of the provider key.
    pub provider_key: String,
    /// The cost by the price list, nano-USD.
    pub list_cost_nanos: Nanos,
    /// The fee, nano-USD.
    pub fee_nanos: Nanos,
    /// Whether the fee does not count towards the limit of the key that made the request.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_outside_key_limit: bool,
}
