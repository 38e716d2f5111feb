//! Whole answers.

use super::Text;
use super::json::Json;
use super::part::Part;

/// An answer. Its usage is metered apart, by the reader of the provider's format.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer<'a> {
    /// The provider's id.
    pub id: Option<Text<'a>>,
    /// The provider's name of the model.
    pub model: Option<Text<'a>>,
    /// Seconds since 1970.
    pub created_s: Option<i64>,
    pub choices: Vec<Choice<'a>>,
}

/// One of the answers that were asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choice<'a> {
    pub parts: Vec<Part<'a>>,
    pub finish: Finish<'a>,
    /// The probabilities of the tokens in the shape of Chat's `logprobs.content`.
    pub logprobs: Option<Json<'a>>,
}

/// The end of a choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finish<'a> {
    pub reason: Reason,
    /// The provider's own word.
    pub native: Option<Text<'a>>,
    /// The sequence that stopped the answer; only Messages names it.
    pub stop_sequence: Option<Text<'a>>,
    /// An explanation for people.
    pub message: Option<Text<'a>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reason {
    #[default]
    Stop,
    StopSequence,
    Length,
    ToolCalls,
    Filtered,
    Paused,
    /// The provider gave up.
    Broken,
}
