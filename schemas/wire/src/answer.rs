//! A provider's answer in any format, whole or in frames: what the gateway reads of it, and what it writes for the client.

use bytes::Bytes;
use events::request::Format;
use events::usage::Tokens;
use events::{CostStatus, Nanos};
use serde_json::value::RawValue;

use crate::openai::response::{self as chat, ChatEnding, ChatPiece};
use crate::openai::usage::UsageBody;
use crate::reported::Reported;

/// The usage that a provider reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In disjoint classes.
    pub tokens: Tokens,
    /// The provider's total is not the sum of its parts, and no known way of counting explains it: a signal for the operator.
    pub is_inconsistent: bool,
}

/// The part of an answer or frame that is metered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Bytes of content, reasoning, tool arguments and any other text, over all choices.
    pub text_bytes: u64,
    /// The first choice's finish reason; an empty one is none.
    pub finish_reason: Option<String>,
}

/// A whole answer, as far as it is read.
#[derive(Debug)]
pub struct Answer {
    /// The usage, when the provider reports it.
    pub usage: Option<Usage>,
    /// The tier it was served in.
    pub service_tier: Option<String>,
    /// The content of the choices.
    pub delta: Delta,
}

/// A refusal of bytes that are no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnswerError {
    /// HTML, half a JSON or anything else that is no answer of the format.
    #[error("the provider's answer is not of the format that it is configured with")]
    Malformed,
    /// The provider reports an error in place of an answer.
    #[error("the provider reported an error")]
    Reported(Box<Reported>),
}

/// One frame of a streamed answer.
#[derive(Debug)]
pub enum Frame<'a> {
    /// The end mark.
    Done,
    /// A piece of the answer, or metadata beside it.
    Chunk(Chunk<'a>),
}

/// A piece of the answer over the bytes it came as.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// The usage so far, when the provider reports it.
    pub usage: Option<Usage>,
    /// The tier it is served in.
    pub service_tier: Option<String>,
    /// The content of the choices.
    pub delta: Delta,
    /// Whether it is passed on: it has choices, or text elsewhere. Everything else is metadata.
    pub is_relayed: bool,
    pub(crate) piece: Piece<'a>,
}

#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Chat(ChatPiece<'a>),
}

/// Reads a whole answer.
///
/// # Errors
/// It reports an error, or is no answer of the format.
pub fn read(format: Format, body: &[u8]) -> Result<Answer, AnswerError> {
    match format {
        Format::Chat => chat::read(body),
    }
}

/// Reads the data of one frame.
///
/// # Errors
/// It reports an error, or is no frame of the format.
pub fn read_frame(format: Format, data: &[u8]) -> Result<Frame<'_>, AnswerError> {
    match format {
        Format::Chat => chat::read_frame(data),
    }
}

/// Returns the frames or the answer that malformed bytes may have meant; nothing when they cannot be repaired.
#[must_use]
pub fn repaired(format: Format, bytes: &Bytes) -> Vec<Bytes> {
    match format {
        Format::Chat => chat::repaired(bytes),
    }
}

/// Returns a whole answer for the client: our id, our model name and our usage; everything else as it came. `id` and `model` are JSON
/// strings; `usage` gets the provider's own.
///
/// # Errors
/// The answer is no JSON object.
pub fn client_body(
    format: Format,
    answer: &[u8],
    (id, model): (&str, &str),
    usage: impl FnOnce(Option<&RawValue>) -> String,
) -> Result<Vec<u8>, AnswerError> {
    match format {
        Format::Chat => chat::client_body(answer, id, model, usage),
    }
}

impl Chunk<'_> {
    /// Writes the frame for the client: our id and model name, no usage; everything else as it came. `id` and `model` are JSON strings.
    pub fn write(&self, id: &str, model: &str, into: &mut Vec<u8>) {
        match &self.piece {
            Piece::Chat(piece) => piece.write(id, model, into),
        }
    }

    /// The time of creation that the provider names, seconds since 1970.
    #[must_use]
    pub fn created_s(&self) -> Option<i64> {
        match &self.piece {
            Piece::Chat(piece) => piece.created_s(),
        }
    }
}

/// The frames by which the gateway itself ends a stream.
#[derive(Debug)]
pub struct Ending<'a> {
    /// The client's format.
    pub format: Format,
    /// Our id as a JSON string.
    pub id: &'a str,
    /// Our model name as a JSON string.
    pub model: &'a str,
    /// Seconds since 1970.
    pub created_s: i64,
}

impl Ending<'_> {
    const fn chat(&self) -> ChatEnding<'_> {
        ChatEnding { id: self.id, model: self.model, created_s: self.created_s }
    }

    /// Writes a finish for an answer that reached its bound.
    pub fn length(&self, into: &mut Vec<u8>) {
        match self.format {
            Format::Chat => self.chat().reason("length", into),
        }
    }

    /// Writes an error, after which nothing more comes. `error` is the error object of the format as JSON.
    pub fn error(&self, error: &str, into: &mut Vec<u8>) {
        match self.format {
            Format::Chat => self.chat().error(error, into),
        }
    }

    /// Writes the usage and the end mark, over the provider's own frame with the usage where there was one. `usage` gets the provider's.
    pub fn usage(&self, frame: Option<&Bytes>, usage: impl FnOnce(Option<&RawValue>) -> String, into: &mut Vec<u8>) {
        match self.format {
            Format::Chat => {
                self.chat().usage(frame, usage, into);
                ChatEnding::done(into);
            }
        }
    }
}

/// A comment that keeps a silent stream open through proxies.
#[must_use]
pub const fn heartbeat(format: Format) -> &'static [u8] {
    match format {
        Format::Chat => b": AROUTER PROCESSING\n\n",
    }
}

/// The charge of a request, as its client is told.
#[derive(Debug, Clone, Copy)]
pub struct Billed {
    /// Token counts.
    pub tokens: Tokens,
    /// Whether the cost is known.
    pub status: CostStatus,
    /// The cost.
    pub cost: Nanos,
    /// From admission to the end, microseconds.
    pub latency_us: Option<u64>,
    /// From admission to the first piece of the answer, microseconds.
    pub ttft_us: Option<u64>,
}

/// Returns the usage object of a client as JSON text: our counts and cost, and members of the provider's own that we do not count.
#[must_use]
pub fn usage_text(format: Format, billed: &Billed, provider: Option<&RawValue>) -> String {
    match format {
        Format::Chat => UsageBody::new(billed).over(provider),
    }
}
