//! The answer as this format writes it: the envelope and its items.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::conversation::Thought;
use super::usage::{UsageBody, charge};
use crate::answer::{Billed, Names};
use crate::client_error::ClientError;
use crate::neutral::{Finish, Json, Reason, Reasoning, Signature, Vendor};

/// An item of an answer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem<'a> {
    Message {
        id: &'a str,
        status: &'static str,
        role: &'static str,
        content: &'a [OutputContent<'a>],
    },
    FunctionCall {
        id: &'a str,
        call_id: &'a str,
        name: &'a str,
        arguments: &'a str,
        status: &'static str,
    },
    CustomToolCall {
        id: &'a str,
        call_id: &'a str,
        name: &'a str,
        input: &'a str,
        status: &'static str,
    },
    Reasoning {
        id: &'a str,
        summary: Vec<Thought<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Thought<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<String>,
    },
}

/// A part of a message.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputContent<'a> {
    OutputText { annotations: Vec<Json<'static>>, logprobs: Vec<Box<RawValue>>, text: Cow<'a, str> },
    Refusal { refusal: Cow<'a, str> },
}

/// The state of an answer.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    InProgress,
    Completed,
    /// An answer that stopped early, with the reason if this format has a word for it.
    Incomplete(Option<&'static str>),
    Failed {
        code: &'a str,
        message: &'a str,
    },
}

impl<'a> Outcome<'a> {
    /// The outcome of an answer that reached its bound.
    pub const LENGTH: Self = Self::Incomplete(Some("max_output_tokens"));

    /// Returns the outcome that a finish stands for.
    pub fn of(finish: &'a Finish<'_>) -> Self {
        match finish.reason {
            Reason::Stop | Reason::StopSequence | Reason::ToolCalls => Self::Completed,
            Reason::Length => Self::LENGTH,
            Reason::Filtered => Self::Incomplete(Some("content_filter")),
            Reason::Paused => Self::Incomplete(None),
            Reason::Broken => {
                let message = finish.message.as_deref().or(finish.native.as_deref());
                Self::Failed { code: "server_error", message: message.unwrap_or("The provider gave up.") }
            }
        }
    }

    /// Returns the outcome of an answer that broke off. The code is one of the few that the official SDK's type knows.
    pub const fn of_error(error: &ClientError<'a>) -> Self {
        let code = match error.status {
            400 => "invalid_prompt",
            429 => "rate_limit_exceeded",
            _ => "server_error",
        };
        Self::Failed { code, message: error.message }
    }

    /// Returns the word of the field `status`.
    pub const fn status(&self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed { .. } => "failed",
        }
    }

    /// Returns the status of an item that the outcome closes.
    pub const fn item_status(&self) -> &'static str {
        match self {
            Self::InProgress | Self::Completed => "completed",
            Self::Incomplete(_) | Self::Failed { .. } => "incomplete",
        }
    }

    /// Returns the type of the event that ends a stream.
    pub const fn event(&self) -> &'static str {
        match self {
            Self::InProgress => "response.in_progress",
            Self::Completed => "response.completed",
            Self::Incomplete(_) => "response.incomplete",
            Self::Failed { .. } => "response.failed",
        }
    }

    /// Returns the field `incomplete_details`.
    pub fn incomplete_details(&self) -> Option<IncompleteDetails> {
        match self {
            Self::Incomplete(reason) => Some(IncompleteDetails { reason: *reason }),
            Self::InProgress | Self::Completed | Self::Failed { .. } => None,
        }
    }

    /// Returns the field `error`.
    pub fn error(&self) -> Option<ErrorBody<'a>> {
        match *self {
            Self::Failed { code, message } => Some(ErrorBody { code, message }),
            Self::InProgress | Self::Completed | Self::Incomplete(_) => None,
        }
    }
}

#[derive(Debug, Serialize)]
pub struct IncompleteDetails {
    reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
}

/// The settings of the request that the envelope repeats. An answer of another format does not name them; these are the defaults.
#[derive(Debug, Serialize)]
struct Echo {
    background: bool,
    instructions: Option<&'static str>,
    max_output_tokens: Option<u64>,
    metadata: Nothing,
    parallel_tool_calls: bool,
    previous_response_id: Option<&'static str>,
    reasoning: ReasoningEcho,
    store: bool,
    temperature: Option<u64>,
    text: TextEcho,
    tool_choice: &'static str,
    tools: [Nothing; 0],
    top_p: Option<u64>,
    truncation: &'static str,
    user: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Nothing {}

#[derive(Debug, Serialize)]
struct ReasoningEcho {
    effort: Option<&'static str>,
    summary: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct TextEcho {
    format: TypeEcho,
}

#[derive(Debug, Serialize)]
struct TypeEcho {
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Echo {
    const DEFAULT: Self = Self {
        background: false,
        instructions: None,
        max_output_tokens: None,
        metadata: Nothing {},
        parallel_tool_calls: true,
        previous_response_id: None,
        reasoning: ReasoningEcho { effort: None, summary: None },
        store: false,
        temperature: None,
        text: TextEcho { format: TypeEcho { kind: "text" } },
        tool_choice: "auto",
        tools: [],
        top_p: None,
        truncation: "disabled",
        user: None,
    };
}

/// The whole answer.
#[derive(Debug, Serialize)]
struct ResponseBody<'a> {
    id: String,
    object: &'static str,
    created_at: i64,
    status: &'static str,
    error: Option<ErrorBody<'a>>,
    incomplete_details: Option<IncompleteDetails>,
    model: &'a str,
    output: &'a [Json<'static>],
    #[serde(flatten)]
    echo: Echo,
    usage: Option<UsageBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arouter: Option<Json<'static>>,
}

/// Returns the answer as JSON text.
pub fn response(outcome: &Outcome<'_>, output: &[Json<'static>], names: &Names<'_>, billed: Option<&Billed>) -> Vec<u8> {
    let body = ResponseBody {
        id: format!("resp_{}", tail(names)),
        object: "response",
        created_at: names.created_s,
        status: outcome.status(),
        error: outcome.error(),
        incomplete_details: outcome.incomplete_details(),
        model: names.model,
        output,
        echo: Echo::DEFAULT,
        usage: billed.map(|billed| UsageBody::new(&billed.tokens)),
        arouter: billed.map(|billed| charge(names, billed)),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// Returns the id of an item.
pub fn item_id(prefix: &str, names: &Names<'_>, index: usize) -> String {
    format!("{prefix}_{}_{index}", tail(names))
}

/// Returns the part of the gateway's id that is its own.
fn tail<'a>(names: &Names<'a>) -> &'a str {
    names.id.rsplit('-').next().unwrap_or(names.id)
}

/// Returns the item of a piece of reasoning. A signature beside an empty text has an empty summary part, because an item without any text
/// is the encrypted reasoning itself, or signs the next item.
pub fn reasoning<'a>(id: &'a str, reasoning: &'a Reasoning<'_>) -> OutputItem<'a> {
    let Reasoning { text, is_summary, signature, encrypted, id: _ } = reasoning;
    let has_text = !text.is_empty() || (encrypted.is_none() && signature.is_some());
    let (summary, content) = match (has_text, *is_summary || text.is_empty()) {
        (false, _) => (None, None),
        (true, true) => (Some(Thought::SummaryText { text }), None),
        (true, false) => (None, Some(Thought::ReasoningText { text })),
    };
    OutputItem::Reasoning {
        id,
        summary: summary.into_iter().collect(),
        content: content.into_iter().collect(),
        encrypted_content: encrypted.as_ref().or(signature.as_ref()).map(|proof| proof.wrapped(Vendor::OpenAi)),
    }
}

/// Returns the item that carries the signature of the next call or text.
pub fn signature<'a>(id: &'a str, signature: &Signature<'_>) -> OutputItem<'a> {
    OutputItem::Reasoning { id, summary: Vec::new(), content: Vec::new(), encrypted_content: Some(signature.wrapped(Vendor::OpenAi)) }
}

/// Returns the arguments of a call; a function that takes none gets an empty object.
pub fn arguments(text: &str, is_custom: bool) -> &str {
    if text.is_empty() && !is_custom { "{}" } else { text }
}

/// Returns the prefix of the id of a call's item.
pub const fn call_prefix(is_custom: bool) -> &'static str {
    if is_custom { "ctc" } else { "fc" }
}

/// Returns the item of a call.
pub fn call<'a>(id: &'a str, call_id: &'a str, name: &'a str, arguments: &'a str, is_custom: bool, status: &'static str) -> OutputItem<'a> {
    if is_custom {
        OutputItem::CustomToolCall { id, call_id, name, input: arguments, status }
    } else {
        OutputItem::FunctionCall { id, call_id, name, arguments, status }
    }
}
