//! Model names as callers write them: variants at the end, and the nearest known name of a misspelt one.

/// A suffix of a model name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Endpoints by throughput.
    Nitro,
    /// Endpoints by price.
    Floor,
    /// The free instance of the model.
    Free,
    /// Reasoning is on.
    Thinking,
    /// The instance with the longer context.
    Extended,
    /// Web search is on.
    Online,
}

impl Variant {
    pub const ALL: [Self; 6] = [Self::Nitro, Self::Floor, Self::Free, Self::Thinking, Self::Extended, Self::Online];

    /// Returns the suffix without its colon.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nitro => "nitro",
            Self::Floor => "floor",
            Self::Free => "free",
            Self::Thinking => "thinking",
            Self::Extended => "extended",
            Self::Online => "online",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.as_str().eq_ignore_ascii_case(name))
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of variants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Variants(u8);

impl Variants {
    #[must_use]
    pub const fn has(self, variant: Variant) -> bool {
        self.0 & variant.bit() != 0
    }

    #[must_use]
    pub const fn with(self, variant: Variant) -> Self {
        Self(self.0 | variant.bit())
    }

    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Splits a model name into its base and the variants at its end, in any order and case. An unknown suffix belongs to the name, with all
/// before it. A catalogue may list a name such as `author/model:free` itself, so the whole name is to be looked up first.
#[must_use]
pub fn split(name: &str) -> (&str, Variants) {
    let (mut base, mut variants) = (name, Variants::default());
    while let Some((before, variant)) = base.rsplit_once(':').and_then(|(before, suffix)| Some((before, Variant::named(suffix)?))) {
        (base, variants) = (before, variants.with(variant));
    }
    (base, variants)
}

/// Returns the known name that is nearest to a misspelt one; the first of equally near ones. A third of its letters may be wrong, at most
/// four. A bare name is compared to the slugs.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = split(name).0.to_lowercase();
    let distance_max = (wanted.chars().count() / 3).clamp(1, 4);
    let distance = |known: &str| {
        let known = known.to_lowercase();
        let slug = known.split_once('/').map_or(known.as_str(), |(_, slug)| slug);
        let compared = if wanted.contains('/') { known.as_str() } else { slug };
        let is_possible = compared.len().abs_diff(wanted.len()) <= distance_max * 4;
        is_possible.then(|| strsim::osa_distance(compared, &wanted))
    };
    let near = known.filter_map(|known| Some((distance(known).filter(|distance| *distance <= distance_max)?, known)));
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_taken_from_the_end() {
        let (base, variants) = split("openai/gpt-5.4:Nitro:online");
        assert_eq!(base, "openai/gpt-5.4");
        assert!(Variant::ALL.into_iter().all(|one| variants.has(one) == matches!(one, Variant::Nitro | Variant::Online)));
        assert_eq!(split("openai/gpt-5.4:online:nitro"), (base, variants));
        assert_eq!(split("openai/gpt-5.4:online:online:NITRO"), (base, variants));
        for variant in Variant::ALL {
            assert_eq!(split(&format!("a/b:{}", variant.as_str())), ("a/b", Variants::default().with(variant)));
        }
    }

    #[test]
    fn unknown_suffixes_belong_to_the_name() {
        for name in ["ollama/llama3:8b", "a/b:nitro:8b", "a/b:", "a/b", ""] {
            assert_eq!(split(name), (name, Variants::default()), "{name}");
        }
        assert_eq!(split("ollama/llama3:8b:floor"), ("ollama/llama3:8b", Variants::default().with(Variant::Floor)));
        assert_eq!(split(":free").0, "");
    }

    #[test]
    fn misspelt_names_have_a_nearest_one() {
        let known = ["openai/gpt-5.4", "openai/gpt-5.4-mini", "anthropic/claude-sonnet-4.6", "google/gemini-3-pro"];
        for (name, near) in [
            ("openai/gtp-5.4", Some("openai/gpt-5.4")),
            ("claude-sonet-4.6", Some("anthropic/claude-sonnet-4.6")),
            ("Anthropic/Claude-Sonnet-4.6", Some("anthropic/claude-sonnet-4.6")),
            ("gemini-3-pro:nitro", Some("google/gemini-3-pro")),
            ("gpt5.4-mini", Some("openai/gpt-5.4-mini")),
            ("mistral-large", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known.into_iter()), near, "{name}");
        }
    }
}
