//! A request to a model in any format: the head that the gateway acts on, and the body for a provider.

use crate::dialect::{Dialect, EffortField, ReasoningHistory};
use crate::fields::Fields;
use crate::neutral::{self, Untranslatable};
use crate::routing::{self, Routing};
use crate::{chat, embeddings, generate, messages, responses};

/// The wire format of a request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenAI Chat Completions.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Anthropic Messages.
    Messages,
    /// Google Gemini's `generateContent`.
    Generate,
    /// A format of embeddings.
    Embeddings(Embeddings),
}

/// The wire format of a request for embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embeddings {
    /// OpenAI's, for one or more texts.
    OpenAi,
    /// Google's `embedContent`, for one text.
    EmbedContent,
    /// Google's `batchEmbedContents`, for one or more texts.
    BatchEmbedContents,
}

impl Format {
    /// Returns the name of the format in events. All embeddings have one name there.
    #[must_use]
    pub const fn recorded(self) -> events::request::Format {
        use events::request::Format as Recorded;
        match self {
            Self::Chat => Recorded::Chat,
            Self::Responses => Recorded::Responses,
            Self::Messages => Recorded::Messages,
            Self::Generate => Recorded::Generate,
            Self::Embeddings(_) => Recorded::Embeddings,
        }
    }
}

/// The fields of a request that the gateway acts on, in any format.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Head {
    /// Models to try, in order; at least one.
    pub models: Vec<String>,
    /// Whether the answer is to be streamed.
    pub stream: bool,
    /// The bound on completion tokens of one choice; `None` if the caller gave none.
    pub output_tokens_max: Option<u64>,
    /// The number of answers that the caller asks for.
    pub choices: u64,
    /// The end user, as named by the caller.
    pub user: Option<String>,
    /// The processing tier in OpenAI's words.
    pub service_tier: Option<String>,
    /// An upper bound of the prompt's tokens without its images, derived from its bytes. `None` if the prompt contains anything but text and
    /// images, or refers to content elsewhere.
    pub prompt_tokens_max: Option<u64>,
    /// The number of images in the prompt.
    pub images: u64,
    /// Whether the caller reads reasoning in OpenRouter's fields, which no provider of the same format writes.
    pub has_reasoning_object: bool,
    /// Whether the caller reads vectors in base64; only OpenAI's embeddings have it.
    pub has_base64_vectors: bool,
    /// Whether the request declares tools, for which some vendors add instructions to the prompt.
    pub has_tools: bool,
    /// The bytes of the prompt's text, for an estimate if the provider does not count tokens.
    pub prompt_text_bytes: u64,
    /// The caller's choice among providers.
    pub routing: Routing,
}

/// The part of a request that stands in its address.
#[derive(Debug, Clone, Copy, Default)]
pub struct Addressed<'a> {
    /// The model; only Google's formats name it there.
    pub model: Option<&'a str>,
    /// Whether the operation is a streamed one; only Generate says it there.
    pub stream: bool,
    /// Whether the prompt is only counted, so that no bound on the answer is needed.
    pub is_count: bool,
}

/// The reason why a body is not a valid request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A body that is not JSON, or not an object.
    #[error("The request body is not a valid JSON object: {0}")]
    NotJson(String),
    /// A field that is given twice.
    #[error("The field '{0}' is given twice.")]
    Repeated(String),
    /// A field that is missing or has a wrong value.
    #[error("{message}")]
    Field {
        field: &'static str,
        /// The fault, and the correct value.
        message: String,
    },
    /// A field that the provider's format cannot express.
    #[error("{0}")]
    Untranslatable(#[from] Untranslatable),
}

impl RequestError {
    /// Returns the name of the faulty field.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        match self {
            Self::Field { field, .. } => Some(field),
            Self::Untranslatable(error) => Some(&error.field),
            Self::NotJson(_) | Self::Repeated(_) => None,
        }
    }
}

/// A model at a provider, as the request body names it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The provider's name of the model.
    pub model: &'a str,
    /// The bound on completion tokens of one choice.
    pub cap: Option<u64>,
    /// The provider's deviations from its format.
    pub dialect: &'a Dialect,
}

/// A request over the bytes that it arrived as.
#[derive(Debug)]
pub struct Call<'a> {
    pub head: Head,
    bytes: &'a [u8],
    body: Body<'a>,
}

#[derive(Debug)]
enum Body<'a> {
    Chat(chat::request::ChatBody<'a>),
    Responses(responses::request::Body<'a>),
    Messages(messages::request::Body<'a>),
    Generate(generate::request::Body<'a>),
    Embeddings(embeddings::Body<'a>),
}

impl<'a> Call<'a> {
    /// Reads a request in a format.
    ///
    /// # Errors
    /// Fails if the body is not a request of that format; the error names the field.
    pub fn read(format: Format, body: &'a [u8], address: &Addressed<'_>) -> Result<Self, RequestError> {
        let bytes = body;
        let (head, body) = match format {
            Format::Chat => chat::request::ChatBody::read(body).map(|(head, body)| (head, Body::Chat(body))),
            Format::Responses => responses::request::read(body).map(|(head, body)| (head, Body::Responses(body))),
            Format::Messages => {
                let read = if address.is_count { messages::request::read_without_cap(body) } else { messages::request::read(body) };
                read.map(|(head, body)| (head, Body::Messages(body)))
            }
            Format::Generate => generate::request::read(body, address).map(|(head, body)| (head, Body::Generate(body))),
            Format::Embeddings(format) => embeddings::read(format, body, address).map(|(head, body)| (head, Body::Embeddings(body))),
        }?;
        Ok(Self { head, bytes, body })
    }

    /// Returns the client's format.
    #[must_use]
    pub const fn format(&self) -> Format {
        match &self.body {
            Body::Chat(_) => Format::Chat,
            Body::Responses(_) => Format::Responses,
            Body::Messages(_) => Format::Messages,
            Body::Generate(_) => Format::Generate,
            Body::Embeddings(body) => Format::Embeddings(body.format()),
        }
    }

    /// Returns the parameters that the request uses, in the words of model lists, sorted.
    #[must_use]
    pub fn parameters(&self) -> Vec<&'static str> {
        routing::parameters(self.format(), self.fields())
    }

    /// Returns the raw parts of the prompt that a conversation keeps at their beginning from turn to turn.
    #[must_use]
    pub fn prompt_parts(&self) -> Vec<&'a [u8]> {
        const PARTS: [&str; 6] = ["system", "instructions", "systemInstruction", "messages", "input", "contents"];
        PARTS.iter().filter_map(|name| self.fields().get(name)).map(|raw| raw.get().as_bytes()).collect()
    }

    const fn fields(&self) -> &Fields<'a> {
        match &self.body {
            Body::Chat(body) => body.fields(),
            Body::Responses(body) => body.fields(),
            Body::Messages(body) => body.fields(),
            Body::Generate(body) => body.fields(),
            Body::Embeddings(body) => body.fields(),
        }
    }

    /// Returns the bound of the prompt, with its text counted in tokens by `count`; `None` if the prompt has no bound.
    #[must_use]
    pub fn prompt_tokens_counted(&self, count: impl Fn(&str) -> u64) -> Option<u64> {
        let by_bytes = self.head.prompt_tokens_max?;
        match &self.body {
            Body::Chat(body) => body.prompt_tokens_counted(by_bytes, count),
            Body::Responses(body) => body.prompt_tokens_counted(by_bytes, count),
            Body::Messages(body) => body.prompt_tokens_counted(by_bytes, count),
            Body::Generate(body) => body.prompt_tokens_counted(by_bytes, count),
            Body::Embeddings(body) => body.prompt_tokens_counted(by_bytes, count),
        }
    }

    /// Returns the body for a provider of a format. In the caller's own format these are the caller's bytes, except for the model, the cap
    /// and the gateway's own fields.
    ///
    /// # Errors
    /// Fails if the request has something that the provider's format cannot express; the error names the field.
    pub fn upstream_body(&self, to: Format, target: &Target<'_>) -> Result<Vec<u8>, RequestError> {
        let stream = self.head.stream;
        if to == self.format()
            && self.has_foreign_turns(target.dialect)
            && let Ok(written) = self.neutral().and_then(|mut request| {
                if to == Format::Responses {
                    request.keep_reasoning_of(neutral::Vendor::OpenAi);
                }
                write(&request, to, stream, target)
            })
        {
            return Ok(written);
        }
        match (&self.body, to) {
            (Body::Chat(body), Format::Chat) => Ok(body.upstream_body(stream, target)),
            (Body::Responses(body), Format::Responses) => Ok(body.upstream_body(target)),
            (Body::Messages(body), Format::Messages) => Ok(body.upstream_body(target)),
            (Body::Generate(body), Format::Generate) => Ok(body.upstream_body(target)),
            (Body::Embeddings(body), Format::Embeddings(to)) => body.upstream_body(to, target),
            _ => write(&self.neutral()?, to, stream, target),
        }
    }

    /// Returns the body with which a provider of the same format counts the prompt's tokens.
    ///
    /// # Errors
    /// Fails like [`Self::upstream_body`].
    pub fn count_body(&self, target: &Target<'_>) -> Result<Vec<u8>, RequestError> {
        let body = self.upstream_body(self.format(), target)?;
        match self.body {
            Body::Responses(_) => Ok(responses::request::count_body(&body)),
            Body::Chat(_) | Body::Messages(_) | Body::Generate(_) | Body::Embeddings(_) => Ok(body),
        }
    }

    /// Returns whether the conversation has turns of another vendor's model, which the provider of this format would refuse as they stand:
    /// a signature that the gateway wrapped, reasoning without a signature, or calls without one.
    fn has_foreign_turns(&self, dialect: &Dialect) -> bool {
        let has = |text: &str| memchr::memmem::find(self.bytes, text.as_bytes()).is_some();
        match &self.body {
            Body::Chat(_) => {
                let details = dialect.reasoning != ReasoningHistory::Details && has("\"reasoning_details\"");
                details || (dialect.effort == EffortField::ReasoningEffort && self.head.has_reasoning_object)
            }
            Body::Responses(body) => has("arouter:") || (has("\"reasoning\"") && body.has_unsigned_reasoning()),
            Body::Messages(_) => has("arouter:") || has("\"signature\":\"\"") || has("\"signature\": \"\""),
            Body::Generate(_) => {
                let is_unsigned = has("unctionCall\"") && !has("houghtSignature\"") && !has("hought_signature\"");
                has(generate::WRAPPED_BASE64) || is_unsigned
            }
            Body::Embeddings(_) => false,
        }
    }

    /// Reads the request into the neutral form.
    ///
    /// # Errors
    /// Fails if a field has a wrong value; the error names it.
    pub fn neutral(&self) -> Result<neutral::Request<'a>, RequestError> {
        match &self.body {
            Body::Chat(body) => chat::neutral::read(body),
            Body::Responses(body) => body.neutral(),
            Body::Messages(body) => body.neutral(),
            Body::Generate(body) => body.neutral(),
            Body::Embeddings(_) => Err(Untranslatable::new("input", "its provider has no embeddings").into()),
        }
    }
}

/// Writes a neutral request in a provider's format.
///
/// # Errors
/// Fails if the format cannot express a part of the request; the error names the field.
pub fn write(request: &neutral::Request<'_>, to: Format, stream: bool, target: &Target<'_>) -> Result<Vec<u8>, RequestError> {
    Ok(match to {
        Format::Chat => chat::neutral::write(request, stream, target)?,
        Format::Responses => responses::request::write(request, stream, target)?,
        Format::Messages => messages::request::write(request, stream, target)?,
        Format::Generate => generate::request::write(request, target)?,
        Format::Embeddings(_) => return Err(Untranslatable::new("messages", "its provider only has embeddings").into()),
    })
}
