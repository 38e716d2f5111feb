//! Constraints: each one excludes endpoints that a request must not or cannot use.

use crate::facts::{EndpointFacts, Needs};
use crate::preferences::{DataCollection, Fallbacks, Preferences};
use crate::provider::ProviderPattern;

/// The reason why an endpoint is excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    NotAllowed,
    NotInOnly,
    Ignored,
    NotInOrder,
    NotFirst,
    NotZdr,
    CollectsData,
    NotDistillable,
    Quantization,
    Parameters,
    MaxPrice,
    Context,
    OutputCap,
    Modality,
    Tools,
    StructuredOutput,
    NoProviderKey,
}

impl Skip {
    /// Returns the reason as a code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::NotInOnly => "not_in_only",
            Self::Ignored => "ignored",
            Self::NotInOrder => "not_in_order",
            Self::NotFirst => "not_first",
            Self::NotZdr => "not_zdr",
            Self::CollectsData => "collects_data",
            Self::NotDistillable => "not_distillable",
            Self::Quantization => "quantization",
            Self::Parameters => "parameters",
            Self::MaxPrice => "max_price",
            Self::Context => "context_length",
            Self::OutputCap => "max_output_tokens",
            Self::Modality => "input_modality",
            Self::Tools => "tools",
            Self::StructuredOutput => "structured_output",
            Self::NoProviderKey => "no_provider_key",
        }
    }

    /// Returns the reason as a sentence for the caller.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotAllowed => "The key or account does not allow this provider.",
            Self::NotInOnly => "The provider is not in provider.only.",
            Self::Ignored => "The provider is in provider.ignore.",
            Self::NotInOrder => "The provider is not in provider.order, and provider.allow_fallbacks is false.",
            Self::NotFirst => "Another endpoint comes first, and provider.allow_fallbacks is false.",
            Self::NotZdr => "The provider does not promise zero data retention.",
            Self::CollectsData => "The provider may keep prompts or train on them, and data collection is denied.",
            Self::NotDistillable => "The answers may not be used for training, and provider.enforce_distillable_text is true.",
            Self::Quantization => "The quantization is not in provider.quantizations.",
            Self::Parameters => "The provider does not support every parameter of the request.",
            Self::MaxPrice => "The price is above provider.max_price.",
            Self::Context => "The prompt and the requested output do not fit the context.",
            Self::OutputCap => "The requested output is longer than the longest answer.",
            Self::Modality => "The provider does not accept every kind of input in the request.",
            Self::Tools => "The provider does not support tools.",
            Self::StructuredOutput => "The provider does not support structured output.",
            Self::NoProviderKey => "The provider serves only accounts with a provider key of their own that can be used.",
        }
    }
}

/// Returns the first reason to exclude an endpoint, or `None`. Rights come before the caller's wishes, and these before abilities.
#[must_use]
pub fn skip(facts: &EndpointFacts, preferences: &Preferences, needs: &Needs) -> Option<Skip> {
    wished(facts, preferences).or_else(|| able(facts, preferences, needs))
}

fn wished(facts: &EndpointFacts, preferences: &Preferences) -> Option<Skip> {
    let checks = [
        (is_allowed(facts, preferences), Skip::NotAllowed),
        (is_in_only(facts, preferences), Skip::NotInOnly),
        (!names(&preferences.ignore, facts), Skip::Ignored),
        (is_in_order(facts, preferences), Skip::NotInOrder),
        (is_zdr(facts, preferences), Skip::NotZdr),
        (is_data_handled(facts, preferences), Skip::CollectsData),
        (facts.allows_distillation || !preferences.enforce_distillable_text, Skip::NotDistillable),
        (is_quantization(facts, preferences), Skip::Quantization),
        (is_affordable(facts, preferences), Skip::MaxPrice),
    ];
    first_unmet(&checks)
}

fn able(facts: &EndpointFacts, preferences: &Preferences, needs: &Needs) -> Option<Skip> {
    let checks = [
        (has_parameters(facts, preferences, needs), Skip::Parameters),
        (has_context(facts, needs), Skip::Context),
        (has_output(facts, needs), Skip::OutputCap),
        (has_modalities(facts, needs), Skip::Modality),
        (!needs.has_tools || facts.supports("tools") != Some(false), Skip::Tools),
        (!needs.has_structured_output || facts.supports("structured_outputs") != Some(false), Skip::StructuredOutput),
    ];
    first_unmet(&checks)
}

fn first_unmet(checks: &[(bool, Skip)]) -> Option<Skip> {
    checks.iter().find(|(is_met, _)| !is_met).map(|(_, skip)| *skip)
}

fn names(patterns: &[ProviderPattern], facts: &EndpointFacts) -> bool {
    patterns.iter().any(|pattern| pattern.matches(facts))
}

fn is_allowed(facts: &EndpointFacts, preferences: &Preferences) -> bool {
    preferences.allowed.iter().all(|allowed| names(allowed, facts))
}

fn is_in_only(facts: &EndpointFacts, preferences: &Preferences) -> bool {
    preferences.only.as_ref().is_none_or(|only| names(only, facts))
}

fn is_in_order(facts: &EndpointFacts, preferences: &Preferences) -> bool {
    preferences.fallbacks == Fallbacks::Allowed || preferences.order.is_empty() || names(&preferences.order, facts)
}

fn is_zdr(facts: &EndpointFacts, preferences: &Preferences) -> bool {
    facts.is_zdr || !preferences.zdr
}

fn is_data_handled(facts: &EndpointFacts, preferences: &Preferences) -> bool {
    !facts.collects_data || preferences.data_collection == DataCollection::Allow
}

fn is_quantization(facts: &EndpointFacts, preferences: &Preferences) -> bool {
    preferences.quantizations.as_ref().is_none_or(|accepted| accepted.contains(&facts.quantization))
}

/// Returns whether every parameter is known to be supported, if the caller requires it.
fn has_parameters(facts: &EndpointFacts, preferences: &Preferences, needs: &Needs) -> bool {
    !preferences.require_parameters || needs.parameters.iter().all(|parameter| facts.supports(parameter) == Some(true))
}

fn is_affordable(facts: &EndpointFacts, preferences: &Preferences) -> bool {
    let (price, max) = (&facts.price, &preferences.max_price);
    let pairs = [
        (price.prompt_picos, max.prompt_picos),
        (price.completion_picos, max.completion_picos),
        (price.request_picos, max.request_picos),
        (price.image_picos, max.image_picos),
    ];
    pairs.into_iter().all(|(price, max)| max.is_none_or(|max| price <= max))
}

fn has_context(facts: &EndpointFacts, needs: &Needs) -> bool {
    let tokens = needs.prompt_tokens.saturating_add(needs.output_tokens.unwrap_or(0));
    facts.context_length.is_none_or(|most| tokens <= most)
}

fn has_output(facts: &EndpointFacts, needs: &Needs) -> bool {
    facts.max_output_tokens.zip(needs.output_tokens).is_none_or(|(most, asked)| asked <= most)
}

fn has_modalities(facts: &EndpointFacts, needs: &Needs) -> bool {
    facts.input_modalities.as_ref().is_none_or(|accepted| needs.modalities.iter().all(|modality| accepted.contains(modality)))
}

#[cfg(test)]
mod tests;
