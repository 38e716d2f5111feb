//! A provider's answer in any format, whole or in frames: the parts that the gateway reads, and the text that it writes for the client.

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
    /// The token counts in disjoint classes.
    pub tokens: Tokens,
    /// Whether the provider's total differs from the sum of its parts, and no known way of counting explains it. It is a signal for the
    /// operator.
    pub is_inconsistent: bool,
}

/// The part of an answer or frame that is metered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// The bytes of content, reasoning, tool arguments and any other text, over all choices.
    pub text_bytes: u64,
    /// The first finish reason among the choices; an empty one counts as `None`.
    pub finish_reason: Option<String>,
}

/// The parts of a whole answer that the gateway reads.
#[derive(Debug)]
pub struct Answer {
    /// The usage; `None` if the provider reports none.
    pub usage: Option<Usage>,
    /// The service tier in which the answer was served.
    pub service_tier: Option<String>,
    /// The metered content of the choices.
    pub delta: Delta,
}

/// The reason why bytes are not an answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnswerError {
    /// Bytes that are no answer of the format, such as HTML or truncated JSON.
    #[error("the provider's answer is not of the format that it is configured with")]
    Malformed,
    /// An error that the provider reports in place of an answer.
    #[error("the provider reported an error")]
    Reported(Box<Reported>),
}

/// One frame of a streamed answer.
#[derive(Debug)]
pub enum Frame<'a> {
    /// The end mark.
    Done,
    /// A piece of the answer, or metadata.
    Chunk(Chunk<'a>),
}

/// A piece of the answer over the bytes that it arrived as.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// The usage so far; `None` if the provider reports none.
    pub usage: Option<Usage>,
    /// The service tier in which the answer is served.
    pub service_tier: Option<String>,
    /// The metered content of the choices.
    pub delta: Delta,
    /// Whether the piece is passed on to the client: it has choices, or text elsewhere. Any other piece is metadata.
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
/// Fails if the body reports an error, or is not an answer of the format.
pub fn read(format: Format, body: &[u8]) -> Result<Answer, AnswerError> {
    match format {
        Format::Chat => chat::read(body),
    }
}

/// Reads the data of one frame.
///
/// # Errors
/// Fails if the frame reports an error, or is not a frame of the format.
pub fn read_frame(format: Format, data: &[u8]) -> Result<Frame<'_>, AnswerError> {
    match format {
        Format::Chat => chat::read_frame(data),
    }
}

/// Returns the frames or the answer that malformed bytes may have meant; nothing if they cannot be repaired.
#[must_use]
pub fn repaired(format: Format, bytes: &Bytes) -> Vec<Bytes> {
    match format {
        Format::Chat => chat::repaired(bytes),
    }
}

/// Returns a whole answer for the client, with the gateway's id, model name and usage; everything else is unchanged. `id` and `model` are
/// JSON strings; `usage` receives the provider's usage.
///
/// # Errors
/// Fails if the answer is not a JSON object.
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
    /// Writes the frame for the client, with the gateway's id and model name and without usage; everything else is unchanged. `id` and
    /// `model` are JSON strings.
    pub fn write(&self, id: &str, model: &str, into: &mut Vec<u8>) {
        match &self.piece {
            Piece::Chat(piece) => piece.write(id, model, into),
        }
    }

    /// Returns the creation time that the provider names, in seconds since 1970.
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
    /// The gateway's id as a JSON string.
    pub id: &'a str,
    /// The gateway's model name as a JSON string.
    pub model: &'a str,
    /// The creation time in seconds since 1970.
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

    /// Writes an error, which ends the stream. `error` is the error object of the format as JSON.
    pub fn error(&self, error: &str, into: &mut Vec<u8>) {
        match self.format {
            Format::Chat => self.chat().error(error, into),
        }
    }

    /// Writes the usage and the end mark. If the provider sent a frame with usage, that frame is the base, and `usage` receives its usage.
    pub fn usage(&self, frame: Option<&Bytes>, usage: impl FnOnce(Option<&RawValue>) -> String, into: &mut Vec<u8>) {
        match self.format {
            Format::Chat => {
                self.chat().usage(frame, usage, into);
                ChatEnding::done(into);
            }
        }
    }
}

/// Returns a comment that keeps a silent stream open through proxies.
#[must_use]
pub const fn heartbeat(format: Format) -> &'static [u8] {
    match format {
        Format::Chat => b": AROUTER PROCESSING\n\n",
    }
}

/// The charge of a request, as reported to its client.
#[derive(Debug, Clone, Copy)]
pub struct Billed {
    pub tokens: Tokens,
    /// Whether the cost is known.
    pub status: CostStatus,
    pub cost: Nanos,
    /// The time from admission to the end, in microseconds.
    pub latency_us: Option<u64>,
    /// The time from admission to the first piece of the answer, in microseconds.
    pub ttft_us: Option<u64>,
}

/// Returns the client's usage object as JSON text: the gateway's counts and cost, and those members of the provider's usage that the
/// gateway does not count.
#[must_use]
pub fn usage_text(format: Format, billed: &Billed, provider: Option<&RawValue>) -> String {
    match format {
        Format::Chat => UsageBody::new(billed).over(provider),
    }
}
