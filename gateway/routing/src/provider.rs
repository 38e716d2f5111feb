//! Provider names as callers write them: without case, by slug, display name or alias, with an optional tag.

use crate::facts::EndpointFacts;

/// Aliases of providers, each with the slug that catalogues use.
const ALIASES: [(&str, &str); 6] = [
    ("xai", "x-ai"),
    ("mistral", "mistralai"),
    ("gemini", "google"),
    ("together_ai", "together"),
    ("fireworks_ai", "fireworks"),
    ("openai-compatible", "openai"),
];

/// A provider in a list of preferences, such as `OpenAI`, or `deepinfra/fp8` for its endpoints of one quantization or region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderPattern {
    provider: String,
    tag: Option<String>,
}

impl ProviderPattern {
    #[must_use]
    pub fn new(text: &str) -> Self {
        let (provider, tag) = text.split_once('/').map_or((text, None), |(provider, tag)| (provider, Some(tag.to_owned())));
        Self { provider: canonical(provider).to_owned(), tag }
    }

    /// Returns whether an endpoint is one that the pattern names.
    #[must_use]
    pub fn matches(&self, facts: &EndpointFacts) -> bool {
        let is_provider = is_same(&self.provider, canonical(&facts.provider)) || is_same(&self.provider, &facts.provider_name);
        let is_tag = |tag: &String| {
            let is_region = facts.region.as_ref().is_some_and(|region| is_same(tag, region));
            is_region || is_same(tag, facts.quantization.as_str())
        };
        is_provider && self.tag.as_ref().is_none_or(is_tag)
    }
}

fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| is_same(alias, name)).map_or(name, |(_, ours)| ours)
}

/// Compares names by their letters and digits, without case.
fn is_same(one: &str, other: &str) -> bool {
    fn letters(text: &str) -> impl Iterator<Item = char> {
        text.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase)
    }
    letters(one).eq(letters(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Quantization;

    #[test]
    fn providers_match_without_case_by_slug_name_alias_and_tag() {
        let facts = EndpointFacts {
            provider: "x-ai".to_owned(),
            provider_name: "Grok Cloud".to_owned(),
            quantization: Quantization::Fp8,
            region: Some("us-east5".to_owned()),
            ..EndpointFacts::default()
        };
        for (pattern, is_match) in [
            ("x-ai", true),
            ("xAI", true),
            ("grok-cloud", true),
            ("x-ai/fp8", true),
            ("XAI/US-EAST5", true),
            ("x-ai/int4", false),
            ("grok", false),
            ("", false),
        ] {
            assert_eq!(ProviderPattern::new(pattern).matches(&facts), is_match, "{pattern}");
        }
        let openai = EndpointFacts { provider: "openai".to_owned(), ..EndpointFacts::default() };
        assert!(ProviderPattern::new("OpenAI").matches(&openai));
        let mistral = EndpointFacts { provider: "mistral".to_owned(), ..EndpointFacts::default() };
        assert!(ProviderPattern::new("MistralAI").matches(&mistral) && ProviderPattern::new("mistral").matches(&mistral));
    }
}
