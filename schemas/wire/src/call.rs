//! One request to a model in any format: the head that the gateway acts on, and the body for a provider.

pub use events::request::Format;

use crate::openai::request::ChatBody;

/// The fields of a request that the gateway acts on, whatever its format.
#[derive(Debug, Clone)]
pub struct Head {
    /// Models to try, in order; at least one.
    pub models: Vec<String>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// The bound on completion tokens of one choice, when given.
    pub output_tokens_max: Option<u64>,
    /// The number of answers.
    pub choices: u64,
    /// The end user as the caller names it.
    pub user: Option<String>,
    /// OpenAI's processing tier.
    pub service_tier: Option<String>,
    /// Tokens that the prompt cannot exceed: its bytes, or `None` when it has anything but text, or names what stands elsewhere.
    pub prompt_tokens_max: Option<u64>,
    /// Bytes of the prompt's text, for an estimate where nobody counts.
    pub prompt_text_bytes: u64,
}

/// A refusal of a body that is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not JSON, or no object.
    #[error("The request body is not a valid JSON object: {0}")]
    NotJson(String),
    /// A field stands there twice.
    #[error("The field '{0}' is given twice.")]
    Repeated(String),
    /// A field is missing or has a wrong value.
    #[error("{message}")]
    Field {
        /// The field.
        field: &'static str,
        /// The fault, and the value that would be right.
        message: String,
    },
}

/// A model at a provider, as its request body names it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The provider's name of the model.
    pub model: &'a str,
    /// The bound on completion tokens of one choice.
    pub cap: Option<u64>,
    /// The field by which the provider takes that bound.
    pub cap_field: &'a str,
}

/// A request over the bytes it came as.
#[derive(Debug)]
pub struct Call<'a> {
    /// The fields that the gateway acts on.
    pub head: Head,
    body: Body<'a>,
}

#[derive(Debug)]
enum Body<'a> {
    Chat(ChatBody<'a>),
}

impl<'a> Call<'a> {
    /// Reads a request of a format.
    ///
    /// # Errors
    /// The body is no request of that format; the error names the field.
    pub fn read(format: Format, body: &'a [u8]) -> Result<Self, RequestError> {
        match format {
            Format::Chat => ChatBody::read(body).map(|(head, body)| Self { head, body: Body::Chat(body) }),
        }
    }

    /// The format that the client speaks.
    #[must_use]
    pub const fn format(&self) -> Format {
        match self.body {
            Body::Chat(_) => Format::Chat,
        }
    }

    /// Returns the bound of the prompt where `count` tells the tokens of a text. `None` where the prompt has no bound.
    #[must_use]
    pub fn prompt_tokens_counted(&self, count: impl Fn(&str) -> u64) -> Option<u64> {
        let by_bytes = self.head.prompt_tokens_max?;
        match &self.body {
            Body::Chat(body) => body.prompt_tokens_counted(by_bytes, count),
        }
    }

    /// Returns the body for a provider that speaks this format: the caller's bytes but for the model, the cap and fields of our own.
    #[must_use]
    pub fn upstream_body(&self, target: &Target<'_>) -> Vec<u8> {
        match &self.body {
            Body::Chat(body) => body.upstream_body(self.head.stream, target),
        }
    }
}
