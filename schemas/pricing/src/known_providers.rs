//! Providers whose address is public knowledge, so that a configuration needs only their slug and a credential.

/// A provider that is known without configuration. Source: each provider's API reference, and the names of LiteLLM's price list.
#[derive(Debug, Clone, Copy)]
pub struct KnownProvider {
    /// The name in model ids.
    pub slug: &'static str,
    /// The base URL of its chat completions.
    pub base_url: &'static str,
    /// The field by which it takes a bound on completion tokens.
    pub max_tokens_field: &'static str,
    /// Its name in LiteLLM's price list; there its models may begin with this name and a slash.
    pub litellm: &'static str,
}

const fn known(slug: &'static str, litellm: &'static str, base_url: &'static str, max_tokens_field: &'static str) -> KnownProvider {
    KnownProvider { slug, base_url, max_tokens_field, litellm }
}

/// Every known provider.
pub const ALL: [KnownProvider; 11] = [
    known("openai", "openai", "https://api.openai.com/v1", "max_completion_tokens"),
    known("anthropic", "anthropic", "https://api.anthropic.com/v1", "max_tokens"),
    known("google", "gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "max_tokens"),
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
