//! Providers whose address is public knowledge, so that a configuration needs only their slug and a credential.

/// Slug and base URL of the chat completions API. Source: each provider's API reference.
const KNOWN: [(&str, &str); 11] = [
    ("openai", "https://api.openai.com/v1"),
    ("anthropic", "https://api.anthropic.com/v1"),
    ("google", "https://generativelanguage.googleapis.com/v1beta/openai"),
    ("deepseek", "https://api.deepseek.com/v1"),
    ("x-ai", "https://api.x.ai/v1"),
    ("mistralai", "https://api.mistral.ai/v1"),
    ("groq", "https://api.groq.com/openai/v1"),
    ("together", "https://api.together.xyz/v1"),
    ("fireworks", "https://api.fireworks.ai/inference/v1"),
    ("deepinfra", "https://api.deepinfra.com/v1/openai"),
    ("novita", "https://api.novita.ai/v3/openai"),
];

/// The base URL of a known provider.
#[must_use]
pub fn base_url(slug: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(known, _)| *known == slug).map(|(_, url)| *url)
}

/// The field by which a provider takes a bound on completion tokens when the caller gave none.
#[must_use]
pub fn cap_field(slug: &str) -> &'static str {
    if slug == "openai" { "max_completion_tokens" } else { "max_tokens" }
}
