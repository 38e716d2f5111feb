//! Requests.

use serde_json::Number;

use super::Text;
use super::json::Json;
use super::part::{Cache, Media, Part, Reasoning};
use super::signature::Vendor;
use crate::call::Format;

/// A request to a model. Model name, cap and streaming are the head's and the target's business.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// The format in which the request was written.
    pub source: Format,
    /// The conversation, system turns included, in the order of the caller.
    pub turns: Vec<Turn<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub tool_choice: Option<ToolChoice<'a>>,
    /// Whether the model may call several tools in one turn; `None` is the vendor's default, which is yes.
    pub parallel_tool_calls: Option<bool>,
    pub settings: Settings<'a>,
    /// The fields that only the source format has, under the caller's names. They are written back to that format. A writer of another
    /// format refuses them, unless [`super::fate`] says that they may be dropped.
    pub extras: Vec<(Text<'a>, Json<'a>)>,
}

/// One speaker's contribution.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn<'a> {
    pub role: Role,
    pub parts: Vec<Part<'a>>,
    /// The speaker's name, which Chat knows.
    pub name: Option<Text<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    /// OpenAI's newer name of the system role; other formats say system.
    Developer,
    User,
    Assistant,
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub enum Tool<'a> {
    Function {
        name: Text<'a>,
        description: Option<Text<'a>>,
        /// JSON Schema of the arguments; `None` if the tool takes none.
        parameters: Option<Json<'a>>,
        strict: Option<bool>,
        cache: Option<Cache>,
    },
    /// OpenAI's tool with free text.
    Custom { name: Text<'a>, description: Option<Text<'a>>, format: Option<Json<'a>> },
    /// A tool of one vendor, which goes only to a provider of that format.
    Opaque { format: Format, raw: Json<'a> },
}

#[derive(Debug, Clone, PartialEq)]
pub enum ToolChoice<'a> {
    /// The model decides.
    Auto,
    None,
    /// Some tool.
    Required,
    /// This tool.
    Tool(Text<'a>),
    /// Some of these tools; `is_required` demands a call.
    AnyOf {
        names: Vec<Text<'a>>,
        is_required: bool,
    },
}

/// The settings that at least two formats share.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings<'a> {
    /// The caller's bound on the completion; a writer sends the target's cap instead.
    pub output_tokens_max: Option<u64>,
    /// From 0 to 2, as OpenAI and Google count.
    pub temperature: Option<Number>,
    pub top_p: Option<Number>,
    pub top_k: Option<Number>,
    pub stop: Vec<Text<'a>>,
    pub frequency_penalty: Option<Number>,
    pub presence_penalty: Option<Number>,
    pub seed: Option<Number>,
    /// The number of answers; 0 and 1 mean one.
    pub choices: u64,
    /// The number of alternatives for each token; `Some(0)` asks for the probability of the chosen token only.
    pub logprobs: Option<u64>,
    pub output: OutputFormat<'a>,
    /// OpenAI's low, medium or high.
    pub verbosity: Option<Text<'a>>,
    pub reasoning: Option<Level>,
    /// Whether the answer shows its reasoning; `None` is the vendor's default.
    pub shows_reasoning: Option<bool>,
    /// The end user.
    pub user: Option<Text<'a>>,
    /// The processing tier in OpenAI's words: auto, default, flex or priority.
    pub service_tier: Option<Text<'a>>,
}

/// The format that the answer's text must have.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum OutputFormat<'a> {
    #[default]
    Text,
    /// Any JSON object.
    Json,
    Schema {
        name: Option<Text<'a>>,
        description: Option<Text<'a>>,
        schema: Json<'a>,
        strict: Option<bool>,
    },
}

/// The amount of reasoning that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Off,
    /// The model decides.
    Auto,
    Effort(Effort),
    /// A bound in tokens.
    Budget(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Effort {
    /// Every step with its budget in tokens; the last one has none. Source: the table of reasoning budgets in the product's description of
    /// the formats.
    const BUDGETS: [(Self, u64); 5] =
        [(Self::Minimal, 1_024), (Self::Low, 2_048), (Self::Medium, 8_192), (Self::High, 16_384), (Self::XHigh, 32_768)];

    /// Returns OpenAI's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// Reads OpenAI's or Google's word, in any case.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let lower = word.to_ascii_lowercase();
        [Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max].into_iter().find(|effort| effort.as_str() == lower)
    }

    /// Returns the budget in tokens, below a cap; `max` takes all that the cap leaves.
    #[must_use]
    pub fn budget(self, cap: Option<u64>) -> u64 {
        let most = cap.map_or(u64::MAX, |cap| cap.saturating_sub(1));
        let own = Self::BUDGETS.iter().find(|(effort, _)| *effort == self).map(|(_, budget)| *budget);
        own.unwrap_or_else(|| cap.map_or(65_536, |_| most)).min(most)
    }

    /// Returns the nearest step that is not above a budget; the lowest one for less.
    #[must_use]
    pub fn of_budget(tokens: u64) -> Self {
        Self::BUDGETS.iter().rev().find(|(_, budget)| *budget <= tokens).map_or(Self::Minimal, |(effort, _)| *effort)
    }
}

/// The number of likeliest tokens from which on `top_k` cuts off only tokens of negligible probability. Some clients always send such a
/// bound.
const WIDE_TOP_K: f64 = 40.0;

impl Settings<'_> {
    /// Returns whether `top_k` shapes the answer, so that a format without it cannot say the request.
    #[must_use]
    pub fn has_narrow_top_k(&self) -> bool {
        self.top_k.as_ref().and_then(Number::as_f64).is_some_and(|top_k| top_k < WIDE_TOP_K)
    }
}

impl<'a> Request<'a> {
    /// Creates an empty request.
    #[must_use]
    pub fn new(source: Format) -> Self {
        Self {
            source,
            turns: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            parallel_tool_calls: None,
            settings: Settings::default(),
            extras: Vec::new(),
        }
    }

    /// Returns the turns with neighbours of one role merged, results before other parts of a user's turn, and no empty turn.
    #[must_use]
    pub fn merged_turns(&self) -> Vec<Turn<'a>> {
        let mut turns: Vec<Turn<'a>> = Vec::with_capacity(self.turns.len());
        for turn in self.turns.iter().filter(|turn| !turn.parts.is_empty()) {
            match turns.last_mut() {
                Some(last) if last.role == turn.role => last.parts.extend(turn.parts.iter().cloned()),
                Some(_) | None => turns.push(turn.clone()),
            }
        }
        for turn in turns.iter_mut().filter(|turn| turn.role == Role::User) {
            turn.parts.sort_by_key(|part| !matches!(part, Part::ToolResult(_)));
        }
        turns
    }

    /// Returns the name of the tool that was called under an id.
    #[must_use]
    pub fn name_of_call(&self, id: &str) -> Option<&Text<'a>> {
        let calls = self.turns.iter().flat_map(|turn| &turn.parts).filter_map(Part::as_tool_call);
        calls.into_iter().find(|call| call.id == id).map(|call| &call.name)
    }

    /// Removes reasoning that a vendor did not sign. Of several parts with one id, one signed part keeps all.
    pub fn keep_reasoning_of(&mut self, vendor: Vendor) {
        let is_signed = |reasoning: &Reasoning<'_>| {
            [&reasoning.signature, &reasoning.encrypted].into_iter().flatten().any(|proof| proof.vendor == vendor)
        };
        let reasoning = self.turns.iter().flat_map(|turn| &turn.parts).filter_map(Part::as_reasoning);
        let signed: Vec<Text<'a>> =
            reasoning.filter(|reasoning| is_signed(reasoning)).filter_map(|reasoning| reasoning.id.clone()).collect();
        let stays = |reasoning: &Reasoning<'_>| is_signed(reasoning) || reasoning.id.as_ref().is_some_and(|id| signed.contains(id));
        for turn in &mut self.turns {
            turn.parts.retain(|part| part.as_reasoning().is_none_or(stays));
        }
    }

    /// Returns all media, those in results of tools too.
    pub fn media_mut(&mut self) -> Vec<&mut Media<'a>> {
        let mut all = Vec::new();
        for part in self.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
            match part {
                Part::Media(media) => all.push(media),
                Part::ToolResult(result) => all.extend(result.content.iter_mut().filter_map(Part::as_media_mut)),
                Part::Text { .. } | Part::Refusal(_) | Part::ToolCall(_) | Part::Reasoning(_) | Part::Opaque { .. } => {}
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_that_a_vendor_signed_stays() {
        let thought = |id: &'static str, vendor: Option<Vendor>| {
            let encrypted = vendor.map(|vendor| super::super::Signature { vendor, data: "e".into() });
            Part::Reasoning(Reasoning { id: Some(id.into()), encrypted, ..Reasoning::default() })
        };
        let parts = vec![thought("a", None), thought("a", Some(Vendor::OpenAi)), thought("b", None), thought("c", Some(Vendor::Google))];
        let mut request = Request { turns: vec![Turn { role: Role::Assistant, parts, name: None }], ..Request::new(Format::Responses) };
        request.keep_reasoning_of(Vendor::OpenAi);
        assert_eq!(request.turns[0].parts, [thought("a", None), thought("a", Some(Vendor::OpenAi))]);
    }

    #[test]
    fn a_wide_top_k_shapes_nothing() {
        let of = |top_k: u64| Settings { top_k: Some(top_k.into()), ..Settings::default() }.has_narrow_top_k();
        assert!(of(5) && !of(64) && !Settings::default().has_narrow_top_k());
    }

    #[test]
    fn efforts_and_budgets_meet() {
        assert_eq!(Effort::of_budget(8_192), Effort::Medium);
        assert_eq!(Effort::of_budget(8_191), Effort::Low);
        assert_eq!(Effort::of_budget(1), Effort::Minimal);
        assert_eq!(Effort::High.budget(Some(2_000)), 1_999);
        assert_eq!(Effort::Max.budget(Some(50_000)), 49_999);
        assert_eq!(Effort::parse("XHIGH"), Some(Effort::XHigh));
    }
}
