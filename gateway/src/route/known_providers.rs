//! Providers whose address is public knowledge, so that a configuration needs only their slug and a credential.

/// Slug, base URL of the chat completions API, and the field by which it takes a bound on completion tokens. Source: each provider's API
/// reference.
const KNOWN: [(&str, &str, &str); 11] = [
    ("openai", "https://api.openai.com/v1", "max_completion_tokens"),
    ("anthropic", "https://api.anthropic.com/v1", "max_tokens"),
    ("google", "https://generativelanguage.googleapis.com/v1beta/openai", "max_tokens"),
    ("deepseek", "https://api.deepseek.com/v1", "max_tokens"),
    ("x-ai", "https://api.x.ai/v1", "max_completion_tokens"),
    ("mistralai", "https://api.mistral.ai/v1", "max_tokens"),
    ("groq", "https://api.groq.com/openai/v1", "max_completion_tokens"),
    ("together", "https://api.together.xyz/v1", "max_tokens"),
    ("fireworks", "https://api.fireworks.ai/inference/v1", "max_tokens"),
    ("deepinfra", "https://api.deepinfra.com/v1/openai", "max_tokens"),
    ("novita", "https://api.novita.ai/v3/openai", "max_tokens"),
];

/// The base URL of a known provider.
#[must_use]
pub fn base_url(slug: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(known, _, _)| *known == slug).map(|(_, url, _)| *url)
}

/// The field by which a provider takes a bound on completion tokens.
#[must_use]
pub fn cap_field(slug: &str) -> &'static str {
    KNOWN.iter().find(|(known, _, _)| *known == slug).map_or("max_tokens", |(_, _, field)| *field)
}
