//! Differences between Anthropic's models, as data. Source: Anthropic's descriptions of its models, of extended and adaptive thinking, and
//! of structured output.

/// The way in which a model is asked to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thinking {
    /// The model does not think.
    Never,
    /// `enabled` with a budget.
    Budget,
    /// `adaptive` with an effort.
    Adaptive,
    /// The same, and it cannot be switched off.
    Always,
}

/// The sampling settings that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    Any,
    /// One of `temperature` and `top_p`.
    OneOf,
    /// None at all.
    Default,
}

/// The abilities of a model that a request depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    pub thinking: Thinking,
    pub sampling: Sampling,
    /// Whether it takes a schema of its answer.
    pub has_schema: bool,
    /// Whether the effort `xhigh` exists.
    pub has_xhigh: bool,
    /// Whether a call of a tool can be demanded while it thinks.
    pub has_forced_tools: bool,
}

/// The newest Claude, and every Claude that the table does not know.
const NEWEST: Traits =
    Traits { thinking: Thinking::Adaptive, sampling: Sampling::Default, has_schema: true, has_xhigh: true, has_forced_tools: true };
/// A model of another vendor behind this format.
const OTHER: Traits = Traits { sampling: Sampling::Any, ..NEWEST };
const BUDGET: Traits = Traits { thinking: Thinking::Budget, sampling: Sampling::Any, has_schema: false, has_forced_tools: false, ..NEWEST };

/// The abilities of Claude up to a version, from the oldest.
const UP_TO: [((u32, u32), Traits); 5] = [
    ((3, 6), Traits { thinking: Thinking::Never, ..BUDGET }),
    ((4, 0), BUDGET),
    ((4, 4), Traits { sampling: Sampling::OneOf, ..BUDGET }),
    ((4, 5), Traits { sampling: Sampling::OneOf, has_schema: true, ..BUDGET }),
    ((4, 6), Traits { sampling: Sampling::OneOf, has_xhigh: false, ..NEWEST }),
];
/// The first versions of families that always think.
const ALWAYS_THINKING: [(&str, (u32, u32)); 3] = [("fable", (5, 0)), ("mythos", (5, 0)), ("opus", (5, 5))];
/// The first versions of families that refuse a forced call.
const WITHOUT_FORCED_TOOLS: [(&str, (u32, u32)); 2] = [("fable", (5, 1)), ("opus", (5, 5))];

/// Returns the abilities of a model by its name.
pub fn traits_of(model: &str) -> Traits {
    let name = model.to_ascii_lowercase();
    let Some((_, claude)) = name.split_once("claude") else { return OTHER };
    let Some(version) = version(claude) else { return NEWEST };
    let is_since = |(family, first): &(&str, (u32, u32))| claude.contains(family) && version >= *first;
    let traits = UP_TO.iter().find(|(last, _)| version <= *last).map_or(NEWEST, |(_, traits)| *traits);
    Traits {
        thinking: if ALWAYS_THINKING.iter().any(is_since) { Thinking::Always } else { traits.thinking },
        has_forced_tools: traits.has_forced_tools && !WITHOUT_FORCED_TOOLS.iter().any(is_since),
        ..traits
    }
}

/// Returns the version in a name such as `-sonnet-4-5-20250929` or `-3-7-sonnet@20250219`. Numbers of more than two digits are dates.
fn version(name: &str) -> Option<(u32, u32)> {
    let mut words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let number = |word: &str| word.parse().ok().filter(|_| word.len() <= 2);
    let major = words.by_ref().find_map(number)?;
    Some((major, words.next().and_then(number).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_all_spellings() {
        for (name, expected) in [
            ("-sonnet-4-5-20250929", Some((4, 5))),
            ("-3-7-sonnet@20250219", Some((3, 7))),
            ("-sonnet-4-20250514", Some((4, 0))),
            ("-sonnet-4.5", Some((4, 5))),
            ("-opus-4-1-20250805-v1:0", Some((4, 1))),
            ("-3-opus-20240229", Some((3, 0))),
            ("-fable", None),
        ] {
            assert_eq!(version(name), expected, "{name}");
        }
    }

    #[test]
    fn thinking_is_chosen_by_version() {
        for (model, thinking) in [
            ("claude-3-5-haiku-latest", Thinking::Never),
            ("claude-3-7-sonnet-20250219", Thinking::Budget),
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", Thinking::Budget),
            ("claude-opus-4-6", Thinking::Adaptive),
            ("anthropic/claude-opus-4.7", Thinking::Adaptive),
            ("claude-next", Thinking::Adaptive),
            ("claude-opus-5", Thinking::Adaptive),
            ("claude-opus-5-5", Thinking::Always),
            ("claude-fable-5", Thinking::Always),
            ("m-1", Thinking::Adaptive),
        ] {
            assert_eq!(traits_of(model).thinking, thinking, "{model}");
        }
    }

    #[test]
    fn newer_models_take_less() {
        assert_eq!(traits_of("claude-sonnet-4-0").sampling, Sampling::Any);
        assert_eq!(traits_of("claude-opus-4-1").sampling, Sampling::OneOf);
        assert_eq!(traits_of("claude-opus-4-7").sampling, Sampling::Default);
        assert_eq!(traits_of("claude-next").sampling, Sampling::Default);
        assert!(!traits_of("claude-opus-4-1").has_schema && traits_of("claude-haiku-4-5").has_schema);
        assert!(!traits_of("claude-opus-4-6").has_xhigh && traits_of("claude-opus-4-7").has_xhigh);
        assert!(traits_of("claude-opus-5").has_forced_tools && !traits_of("claude-opus-5-5").has_forced_tools);
    }
}
