//! The caller's preferences among providers: the object `provider` of a request, merged with variants and with the rights of its key.

pub mod parse;

pub use parse::PreferenceError;

use crate::facts::Quantization;
use crate::names::{Variant, Variants};
use crate::provider::ProviderPattern;

/// The figure by which endpoints are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// The price of a typical request, lowest first.
    Price,
    /// Output tokens per second (p50), highest first.
    Throughput,
    /// Time to the first token (p50), lowest first.
    Latency,
}

/// The scope of the order among several models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Partition {
    /// All endpoints of a model come before those of the next model.
    #[default]
    Model,
    /// Endpoints of all models are ordered together.
    None,
}

/// Whether endpoints beyond the first choice are tried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fallbacks {
    #[default]
    Allowed,
    /// Only providers in `order` are tried; without `order`, only the first endpoint.
    Off,
}

/// The caller's consent to providers that keep prompts or train on them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataCollection {
    #[default]
    Allow,
    Deny,
}

/// Highest acceptable prices in pico-USD: per token, per request and per image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaxPrice {
    pub prompt_picos: Option<u64>,
    pub completion_picos: Option<u64>,
    pub request_picos: Option<u64>,
    pub image_picos: Option<u64>,
}

/// A value for each percentile. A bare number in a request is that of p50.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cutoffs {
    pub p50: Option<u64>,
    pub p75: Option<u64>,
    pub p90: Option<u64>,
    pub p99: Option<u64>,
}

/// Preferences among endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences {
    pub order: Vec<ProviderPattern>,
    pub fallbacks: Fallbacks,
    pub require_parameters: bool,
    pub data_collection: DataCollection,
    pub zdr: bool,
    pub enforce_distillable_text: bool,
    /// The providers that the caller allows; `None` allows all.
    pub only: Option<Vec<ProviderPattern>>,
    pub ignore: Vec<ProviderPattern>,
    /// The acceptable quantizations; `None` accepts all.
    pub quantizations: Option<Vec<Quantization>>,
    pub sort: Option<SortBy>,
    pub partition: Partition,
    /// Output tokens per second, in thousandths.
    pub preferred_min_throughput_milli: Cutoffs,
    /// Time to the first token in microseconds.
    pub preferred_max_latency_us: Cutoffs,
    pub max_price: MaxPrice,
    /// Lists of providers that key and account allow. An endpoint must be in each.
    pub allowed: Vec<Vec<ProviderPattern>>,
}

/// Restrictions of a key or an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// `None` allows all providers, an empty list none.
    pub allowed_providers: Option<Vec<String>>,
    pub enforce_zdr: bool,
    pub data_collection: DataCollection,
}

impl Preferences {
    /// Merges the variants of the model name: `:nitro` and `:floor` sort unless the caller sorts explicitly. `:nitro` wins over `:floor`.
    #[must_use]
    pub fn with_variants(mut self, variants: Variants) -> Self {
        let nitro = variants.has(Variant::Nitro).then_some(SortBy::Throughput);
        let floor = variants.has(Variant::Floor).then_some(SortBy::Price);
        self.sort = self.sort.or(nitro).or(floor);
        self
    }

    /// Merges restrictions. It is called once for the account and once for the key; the strictest of all wins.
    #[must_use]
    pub fn restricted_by(mut self, restrictions: &Restrictions) -> Self {
        if let Some(allowed) = &restrictions.allowed_providers {
            self.allowed.push(allowed.iter().map(|name| ProviderPattern::new(name)).collect());
        }
        self.zdr |= restrictions.enforce_zdr;
        if restrictions.data_collection == DataCollection::Deny {
            self.data_collection = DataCollection::Deny;
        }
        self
    }
}

#[cfg(test)]
mod tests;
