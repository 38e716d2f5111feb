//! Embeddings in OpenAI's and Google's formats, and the form between them. Their answers are never streamed and have no output tokens.

mod openai;
mod google;

use crate::answer::{Answer, AnswerError, Billed, Names};
use crate::call::{Addressed, Embeddings, Head, RequestError, Target};
use crate::fields::Fields;
use crate::neutral::{Json, Text};

/// Tokens that a provider may add to each text.
const TEXT_TOKENS: u64 = 8;

/// The body of a request over the bytes that it arrived as.
#[derive(Debug)]
pub enum Body<'a> {
    OpenAi(openai::Body<'a>),
    Google(google::Body<'a>),
}

/// A request as both formats can say it.
#[derive(Debug)]
pub struct Request<'a> {
    texts: Vec<Text<'a>>,
    /// The length of each vector; `None` for the model's own.
    dimensions: Option<u64>,
}

/// A vector as the JSON array in which it arrived.
pub type Vector<'a> = Json<'a>;

/// Reads a body and its head.
///
/// # Errors
/// Fails if the body is not a request for embeddings; the error names the field.
pub fn read<'a>(format: Embeddings, body: &'a [u8], address: &Addressed<'_>) -> Result<(Head, Body<'a>), RequestError> {
    match format {
        Embeddings::OpenAi => openai::read(body).map(|(head, body)| (head, Body::OpenAi(body))),
        Embeddings::EmbedContent | Embeddings::BatchEmbedContents => {
            google::read(format, body, address).map(|(head, body)| (head, Body::Google(body)))
        }
    }
}

impl<'a> Body<'a> {
    /// Returns the members of the body.
    #[must_use]
    pub(crate) const fn fields(&self) -> &Fields<'a> {
        match self {
            Self::OpenAi(body) => body.fields(),
            Self::Google(body) => body.fields(),
        }
    }

    /// Returns the client's format.
    #[must_use]
    pub const fn format(&self) -> Embeddings {
        match self {
            Self::OpenAi(_) => Embeddings::OpenAi,
            Self::Google(body) => body.format,
        }
    }

    /// Returns the prompt's bound with its texts counted by `count`; `None` if the input is not text.
    #[must_use]
    pub fn prompt_tokens_counted(&self, by_bytes: u64, count: impl Fn(&str) -> u64) -> Option<u64> {
        let texts = match self {
            Self::OpenAi(body) => body.texts(),
            Self::Google(body) => body.request().ok().map(|request| request.texts),
        }?;
        let counted = texts.iter().map(|text| count(text).saturating_add(TEXT_TOKENS)).fold(0_u64, u64::saturating_add);
        Some(counted.min(by_bytes))
    }

    /// Returns the body for a provider of a format. Between the formats it is always a batch, which may be of one text.
    ///
    /// # Errors
    /// Fails if the request has something that the provider's format cannot express; the error names the field.
    pub fn upstream_body(&self, to: Embeddings, target: &Target<'_>) -> Result<Vec<u8>, RequestError> {
        Ok(match (self, to) {
            (Self::OpenAi(body), Embeddings::OpenAi) => body.upstream_body(target),
            (Self::OpenAi(body), Embeddings::EmbedContent | Embeddings::BatchEmbedContents) => google::write(&body.request()?, target),
            (Self::Google(body), Embeddings::OpenAi) => openai::write(&body.request()?, target),
            (Self::Google(body), Embeddings::EmbedContent | Embeddings::BatchEmbedContents) => body.upstream_body(target),
        })
    }
}

/// Reads an answer.
///
/// # Errors
/// Fails if the body reports an error, or has no embeddings.
pub fn read_answer(format: Embeddings, body: &[u8]) -> Result<Answer, AnswerError> {
    match format {
        Embeddings::OpenAi => openai::read_answer(body),
        Embeddings::EmbedContent | Embeddings::BatchEmbedContents => google::read_answer(body),
    }
}

/// Returns the answer for the client, with the charge. In the client's own format the vectors are the provider's bytes.
///
/// # Errors
/// Fails if the answer is not of the provider's format.
pub fn client_body(
    (from, to): (Embeddings, Embeddings),
    is_base64: bool,
    body: &[u8],
    names: &Names<'_>,
    billed: &Billed,
) -> Result<Vec<u8>, AnswerError> {
    match (from, to) {
        (Embeddings::OpenAi, Embeddings::OpenAi) => openai::client_body(body, names, billed),
        (Embeddings::OpenAi, Embeddings::EmbedContent | Embeddings::BatchEmbedContents) => {
            google::write_answer(&openai::vectors(body)?, to, names, billed)
        }
        (Embeddings::EmbedContent | Embeddings::BatchEmbedContents, Embeddings::OpenAi) => {
            openai::write_answer(&google::vectors(body)?, is_base64, names, billed)
        }
        (Embeddings::EmbedContent | Embeddings::BatchEmbedContents, Embeddings::EmbedContent | Embeddings::BatchEmbedContents) => {
            google::client_body(body, names, billed)
        }
    }
}
