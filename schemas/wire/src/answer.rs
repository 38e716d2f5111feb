//! A provider's answer in any format, whole or in frames: the parts that the gateway reads, and the text that it writes for the client.

use bytes::Bytes;
use events::usage::Tokens;
use events::{CostStatus, Nanos};

use crate::call::{Format, Head};
use crate::client_error::ClientError;
use crate::neutral;
use crate::reported::Reported;
use crate::usage::Usage;
use crate::{chat, embeddings, generate, messages, responses};

/// The part of an answer or frame that is metered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// The bytes of content, reasoning, tool arguments and any other text, over all choices.
    pub text_bytes: u64,
    /// The first finish reason among the choices, in the provider's own word; an empty one counts as `None`.
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
    /// The treatment of the frame in a stream to a client of the same format.
    pub passing: Passing,
    /// Whether the frame ends the stream: nothing after it is read.
    pub is_last: bool,
    pub(crate) piece: Piece<'a>,
}

/// The treatment of a frame in a stream to a client of the same format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// It is passed on at once.
    Relayed,
    /// It is kept for the end, where the charge is added to it. A frame that was kept before is passed on instead.
    Held,
    /// It is not passed on, but the last one with a usage is the base of the last frame.
    Metadata,
}

#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Chat(chat::response::ChatPiece<'a>),
    Responses(responses::stream::Piece<'a>),
    Messages(messages::stream::Piece<'a>),
    Generate(generate::stream::Piece<'a>),
}

/// The names that a client reads in an answer, and the origin of the answer.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The gateway's id of the request.
    pub id: &'a str,
    /// The same as a JSON string.
    pub id_json: &'a str,
    /// The gateway's name of the model.
    pub model: &'a str,
    /// The same as a JSON string.
    pub model_json: &'a str,
    /// The provider's slug.
    pub provider: &'a str,
    /// The creation time in seconds since 1970.
    pub created_s: i64,
}

/// The charge of a request, as reported to its client.
#[derive(Debug, Clone, Copy)]
pub struct Billed {
    pub tokens: Tokens,
    /// Whether the cost is known.
    pub status: CostStatus,
    pub cost: Nanos,
    /// The list price of a request with the account's own provider key; the cost is then the fee.
    pub byok: Option<Nanos>,
    /// The time from admission to the end, in microseconds.
    pub latency_us: Option<u64>,
    /// The time from admission to the first piece of the answer, in microseconds.
    pub ttft_us: Option<u64>,
}

/// The end of a stream.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    /// A complete answer.
    Completed(&'a Billed),
    /// An answer that the gateway cut at its bound.
    Length(&'a Billed),
    /// An answer that broke off.
    Error(&'a ClientError<'a>),
}

/// Reads a whole answer.
///
/// # Errors
/// Fails if the body reports an error, or is not an answer of the format.
pub fn read(format: Format, body: &[u8]) -> Result<Answer, AnswerError> {
    match format {
        Format::Chat => chat::response::read(body),
        Format::Responses => responses::answer::read(body),
        Format::Messages => messages::answer::read(body),
        Format::Generate => generate::answer::read(body),
        Format::Embeddings(format) => embeddings::read_answer(format, body),
    }
}

/// Reads the data of one frame.
///
/// # Errors
/// Fails if the frame reports an error, or is not a frame of the format.
pub fn read_frame(format: Format, data: &[u8]) -> Result<Frame<'_>, AnswerError> {
    match format {
        Format::Chat => chat::response::read_frame(data),
        Format::Responses => responses::stream::read_frame(data),
        Format::Messages => messages::stream::read_frame(data),
        Format::Generate => generate::stream::read_frame(data),
        Format::Embeddings(_) => Err(AnswerError::Malformed),
    }
}

/// Returns the frames or the answer that malformed bytes may have meant; nothing if they cannot be repaired.
#[must_use]
pub fn repaired(bytes: &Bytes) -> Vec<Bytes> {
    chat::response::repaired(bytes)
}

/// Returns a whole answer for the client, with the gateway's names and the charge. In the client's own format everything else is
/// unchanged, unless the caller reads reasoning in other fields. `head` is the request's.
///
/// # Errors
/// Fails if the body is not an answer of the provider's format.
pub fn client_body(
    (from, to): (Format, Format),
    head: &Head,
    body: &[u8],
    names: &Names<'_>,
    billed: &Billed,
) -> Result<Vec<u8>, AnswerError> {
    match (from, to) {
        (Format::Chat, Format::Chat) if head.has_reasoning_object => Ok(write(&neutral(from, body)?, to, names, billed)),
        (Format::Chat, Format::Chat) => chat::response::client_body(body, names, billed),
        (Format::Responses, Format::Responses) => responses::answer::client_body(body, names, billed),
        (Format::Messages, Format::Messages) => messages::answer::client_body(body, names, billed),
        (Format::Generate, Format::Generate) => generate::answer::client_body(body, names, billed),
        (Format::Embeddings(from), Format::Embeddings(to)) => {
            embeddings::client_body((from, to), head.has_base64_vectors, body, names, billed)
        }
        _ => Ok(write(&neutral(from, body)?, to, names, billed)),
    }
}

/// Reads a whole answer into the neutral form.
///
/// # Errors
/// Fails if the body is not an answer of the format.
pub fn neutral(from: Format, body: &[u8]) -> Result<neutral::Answer<'_>, AnswerError> {
    match from {
        Format::Chat => chat::neutral::read_answer(body),
        Format::Responses => responses::answer::neutral(body),
        Format::Messages => messages::answer::neutral(body),
        Format::Generate => generate::answer::neutral(body),
        Format::Embeddings(_) => Err(AnswerError::Malformed),
    }
}

/// Writes a neutral answer in a client's format.
#[must_use]
pub fn write(answer: &neutral::Answer<'_>, to: Format, names: &Names<'_>, billed: &Billed) -> Vec<u8> {
    match to {
        Format::Chat => chat::neutral::write_answer(answer, names, billed),
        Format::Responses => responses::answer::write(answer, names, billed),
        Format::Messages => messages::answer::write(answer, names, billed),
        Format::Generate => generate::answer::write(answer, names, billed),
        Format::Embeddings(_) => Vec::new(),
    }
}

impl Chunk<'_> {
    /// Writes the frame for a client of the same format, with the gateway's names; everything else is unchanged.
    pub fn write(&self, names: &Names<'_>, into: &mut Vec<u8>) {
        match &self.piece {
            Piece::Chat(piece) => piece.write(names, into),
            Piece::Responses(piece) => piece.write(names, into),
            Piece::Messages(piece) => piece.write(names, into),
            Piece::Generate(piece) => piece.write(names, into),
        }
    }

    /// Returns the creation time that the provider names, in seconds since 1970.
    #[must_use]
    pub fn created_s(&self) -> Option<i64> {
        match &self.piece {
            Piece::Chat(piece) => piece.created_s(),
            Piece::Responses(_) | Piece::Messages(_) | Piece::Generate(_) => None,
        }
    }
}
