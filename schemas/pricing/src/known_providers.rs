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
    /// The name that lists show.
    pub name: &'static str,
    /// Whether it may keep requests of its API beyond the detection of abuse, or train on them. Source: each provider's data policy.
    pub collects_data: bool,
    pub format: ProviderFormat,
    /// The base URL, to which the format's paths are added.
    pub base_url: &'static str,
    /// The field by which it takes a bound on completion tokens.
    pub max_tokens_field: &'static str,
    /// Its name in LiteLLM's price list; there its models may begin with this name and a slash.
    pub litellm: &'static str,
}

type Names = (&'static str, &'static str, &'static str);

const fn known((slug, name, litellm): Names, base_url: &'static str, max_tokens_field: &'static str) -> KnownProvider {
    KnownProvider { slug, name, collects_data: false, format: ProviderFormat::OpenAi, base_url, max_tokens_field, litellm }
}

const fn native((slug, name, litellm): Names, format: ProviderFormat, base_url: &'static str) -> KnownProvider {
    KnownProvider { slug, name, collects_data: false, format, base_url, max_tokens_field: "max_tokens", litellm }
}

/// Returns the provider as one whose policy lets it keep or use requests.
const fn collecting(provider: KnownProvider) -> KnownProvider {
    KnownProvider { collects_data: true, ..provider }
}

/// Every known provider.
pub const ALL: [KnownProvider; 11] = [
    known(("openai", "OpenAI", "openai"), "https://api.openai.com/v1", "max_completion_tokens"),
    native(("anthropic", "Anthropic", "anthropic"), ProviderFormat::Anthropic, "https://api.anthropic.com"),
    collecting(native(("google", "Google", "gemini"), ProviderFormat::Gemini, "https://generativelanguage.googleapis.com")),
    collecting(known(("deepseek", "DeepSeek", "deepseek"), "https://api.deepseek.com/v1", "max_tokens")),
    known(("x-ai", "xAI", "xai"), "https://api.x.ai/v1", "max_completion_tokens"),
    known(("mistralai", "Mistral", "mistral"), "https://api.mistral.ai/v1", "max_tokens"),
    known(("groq", "Groq", "groq"), "https://api.groq.com/openai/v1", "max_completion_tokens"),
    known(("together", "Together", "together_ai"), "https://api.together.xyz/v1", "max_tokens"),
    known(("fireworks", "Fireworks", "fireworks_ai"), "https://api.fireworks.ai/inference/v1", "max_tokens"),
    known(("deepinfra", "DeepInfra", "deepinfra"), "https://api.deepinfra.com/v1/openai", "max_tokens"),
    known(("novita", "Novita", "novita"), "https://api.novita.ai/v3/openai", "max_tokens"),
];

/// Returns the known provider of that slug.
#[must_use]
pub fn find(slug: &str) -> Option<&'static KnownProvider> {
    ALL.iter().find(|provider| provider.slug == slug)
}
