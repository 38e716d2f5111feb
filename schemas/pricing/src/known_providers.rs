//! Providers whose address is public knowledge, so that a configuration needs only their slug and a credential.

use serde::Deserialize;

/// The API that a provider speaks, by the name of the vendor that designed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderFormat {
    /// Chat Completions and embeddings, and Responses where the provider has them.
    OpenAi,
    /// Messages.
    Anthropic,
    /// `generateContent`.
    Gemini,
}

/// A provider that is known without configuration. Source: each provider's API reference, and the names of LiteLLM's price list.
#[derive(Debug, Clone, Copy)]
pub struct KnownProvider {
    /// The name in model ids.
    pub slug: &'static str,
    pub format: ProviderFormat,
    /// The base URL, to which the format's paths are added.
    pub base_url: &'static str,
    /// The field by which it takes a bound on completion tokens.
    pub max_tokens_field: &'static str,
    /// Its name in LiteLLM's price list; there its models may begin with this name and a slash.
    pub litellm: &'static str,
}

const fn known(slug: &'static str, litellm: &'static str, base_url: &'static str, max_tokens_field: &'static str) -> KnownProvider {
    KnownProvider { slug, format: ProviderFormat::OpenAi, base_url, max_tokens_field, litellm }
}

const fn native(slug: &'static str, litellm: &'static str, format: ProviderFormat, base_url: &'static str) -> KnownProvider {
    KnownProvider { slug, format, base_url, max_tokens_field: "max_tokens", litellm }
}

/// Every known provider.
pub const ALL: [KnownProvider; 11] = [
    known("openai", "openai", "https://api.openai.com/v1", "max_completion_tokens"),
    native("anthropic", "anthropic", ProviderFormat::Anthropic, "https://api.anthropic.com"),
    native("google", "gemini", ProviderFormat::Gemini, "https://generativelanguage.googleapis.com"),
    known("deepseek", "deepseek", "https://api.deepseek.com/v1", "max_tokens"),
    known("x-ai", "xai", "https://api.x.ai/v1", "max_completion_tokens"),
    known("mistralai", "mistral", "https://api.mistral.ai/v1", "max_tokens"),
    known("groq", "groq", "https://api.groq.com/openai/v1", "max_completion_tokens"),
    known("together", "together_ai", "https://api.together.xyz/v1", "max_tokens"),
    known("fireworks", "fireworks_ai", "https://api.fireworks.ai/inference/v1", "max_tokens"),
    known("deepinfra", "deepinfra", "https://api.deepinfra.com/v1/openai", "max_tokens"),
    known("novita", "novita", "https://api.novita.ai/v3/openai", "max_tokens"),
];

/// Returns the known provider of that slug.
#[must_use]
pub fn find(slug: &str) -> Option<&'static KnownProvider> {
    ALL.iter().find(|provider| provider.slug == slug)
}
