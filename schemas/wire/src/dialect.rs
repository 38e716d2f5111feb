//! Deviations of providers from the format that they speak, as data.

/// The deviations of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about a provider")]
pub struct Dialect {
    /// The field by which a provider of Chat takes the bound on completion tokens.
    pub cap_field: String,
    /// Whether it takes `stream_options`.
    pub has_stream_options: bool,
    /// Whether it knows the role `developer`; otherwise `system` is sent.
    pub has_developer_role: bool,
    /// Whether it answers a request for several choices.
    pub has_choices: bool,
    /// Whether it takes the names of speakers.
    pub has_names: bool,
    /// The field of the seed.
    pub seed_field: &'static str,
    /// Whether ids of tool calls must have exactly nine letters or digits.
    pub has_short_call_ids: bool,
    /// The treatment of earlier reasoning in a conversation.
    pub reasoning: ReasoningHistory,
    /// The way to ask for reasoning.
    pub effort: EffortField,
    /// Whether it knows `cache_control` on parts.
    pub has_cache_control: bool,
}

/// The treatment of earlier reasoning in a conversation, by a provider of Chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningHistory {
    /// It is left out.
    Dropped,
    /// It is sent as `reasoning_content`, which DeepSeek demands beside tool calls.
    Content,
    /// It is sent as `reasoning_details`, as OpenRouter does.
    Details,
}

/// The field by which a provider of Chat is asked for reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffortField {
    /// OpenAI's `reasoning_effort`.
    ReasoningEffort,
    /// OpenRouter's object `reasoning`.
    Reasoning,
}

impl Default for Dialect {
    /// Returns the dialect of a careful compatible server: it takes what all of them take.
    fn default() -> Self {
        Self {
            cap_field: "max_tokens".to_owned(),
            has_stream_options: true,
            has_developer_role: false,
            has_choices: true,
            has_names: true,
            seed_field: "seed",
            has_short_call_ids: false,
            reasoning: ReasoningHistory::Dropped,
            effort: EffortField::ReasoningEffort,
            has_cache_control: false,
        }
    }
}

impl Dialect {
    /// Returns the dialect of a known provider. Source: each provider's API reference, gathered in the product's description of the formats.
    #[must_use]
    pub fn of_provider(slug: &str, cap_field: &str) -> Self {
        let usual = Self { cap_field: cap_field.to_owned(), ..Self::default() };
        match slug {
            "openai" => Self { has_developer_role: true, ..usual },
            "mistralai" => Self { seed_field: "random_seed", has_short_call_ids: true, has_names: false, has_choices: false, ..usual },
            "groq" => Self { has_developer_role: true, has_choices: false, ..usual },
            "deepseek" => Self { reasoning: ReasoningHistory::Content, has_choices: false, ..usual },
            "openrouter" => Self {
                reasoning: ReasoningHistory::Details,
                effort: EffortField::Reasoning,
                has_cache_control: true,
                has_developer_role: true,
                ..usual
            },
            _ => usual,
        }
    }
}
