//! Model names: authors have aliases, case is ignored, `-` between digits equals `.`, and a bare name belongs to OpenAI.

/// Aliases of authors and providers, each with the name that the gateway uses.
const ALIASES: [(&str, &str); 6] = [
    ("xai", "x-ai"),
    ("mistral", "mistralai"),
    ("gemini", "google"),
    ("together_ai", "together"),
    ("fireworks_ai", "fireworks"),
    ("openai-compatible", "openai"),
];

/// Returns the canonical form of a name, in which names are compared. A bare name belongs to OpenAI.
#[must_use]
pub fn canonical(name: &str) -> String {
    canonical_of("openai", name)
}

/// Returns the canonical form of a name, of which a bare one belongs to `author`.
#[must_use]
pub fn canonical_of(author: &str, name: &str) -> String {
    let lower = name.trim().to_lowercase();
    let (author, slug) = lower.split_once('/').unwrap_or((author, &lower));
    format!("{}/{}", author_of(author), dotted(slug))
}

/// Returns the gateway's name of an author or provider, in lower case.
#[must_use]
pub fn author_of(author: &str) -> String {
    let lower = author.to_lowercase();
    ALIASES.iter().find(|(alias, _)| *alias == lower).map_or(lower, |(_, ours)| (*ours).to_owned())
}

/// Rewrites `claude-sonnet-4-6` as `claude-sonnet-4.6`.
fn dotted(slug: &str) -> String {
    let bytes = slug.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    slug.char_indices()
        .map(|(at, letter)| if letter == '-' && is_digit(at.checked_sub(1)) && is_digit(at.checked_add(1)) { '.' } else { letter })
        .collect()
}

/// Returns whether a key's pattern allows a model, whose name must be canonical. The pattern is `*`, `author/slug`, `author/*`, or a bare
/// slug of any author.
#[must_use]
pub fn allows(pattern: &str, model: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if !pattern.contains('/') {
        let slug = model.split_once('/').map_or(model, |(_, slug)| slug);
        return matches(&dotted(&pattern.to_lowercase()), slug);
    }
    matches(&canonical(pattern), model)
}

fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or_else(|| pattern == name, |prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_the_same_are_the_same() {
        assert_eq!(canonical("Anthropic/Claude-Sonnet-4-6"), canonical("anthropic/claude-sonnet-4.6"));
        assert_eq!(canonical("xai/grok-3"), canonical("x-ai/grok-3"));
        assert_eq!(canonical("gpt-5.4"), "openai/gpt-5.4");
        assert_eq!(canonical("meta/llama-3-70b"), "meta/llama-3.70b");
        assert_ne!(canonical("openai/gpt-4o"), canonical("openai/gpt-4"));
    }

    #[test]
    fn patterns() {
        let model = canonical("anthropic/claude-sonnet-4.6");
        for (pattern, allowed) in [
            ("anthropic/*", true),
            ("claude-sonnet-4-6", true),
            ("*", true),
            ("openai/*", false),
            ("anthropic/claude", false),
            ("claude-*", true),
        ] {
            assert_eq!(allows(pattern, &model), allowed, "{pattern}");
        }
    }
}
