//! A request to a model in any format: the head that the gateway acts on, and the body for a provider.

pub use events::request::Format;

use crate::openai::request::ChatBody;

/// The fields of a request that the gateway acts on, in any format.
#[derive(Debug, Clone)]
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
    /// OpenAI's processing tier.
    pub service_tier: Option<String>,
    /// An upper bound of the prompt's tokens, derived from its bytes. `None` if the prompt contains anything but text, or refers to content
    /// elsewhere.
    pub prompt_tokens_max: Option<u64>,
    /// The bytes of the prompt's text, for an estimate if the provider does not count tokens.
    pub prompt_text_bytes: u64,
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
}

/// A model at a provider, as the request body names it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The provider's name of the model.
    pub model: &'a str,
    /// The bound on completion tokens of one choice.
    pub cap: Option<u64>,
    /// The field by which the provider accepts that bound.
    pub cap_field: &'a str,
}

/// A request over the bytes that it arrived as.
#[derive(Debug)]
pub struct Call<'a> {
    pub head: Head,
    body: Body<'a>,
}

#[derive(Debug)]
enum Body<'a> {
    Chat(ChatBody<'a>),
}

impl<'a> Call<'a> {
    /// Reads a request in a format.
    ///
    /// # Errors
    /// Fails if the body is not a request of that format; the error names the field.
    pub fn read(format: Format, body: &'a [u8]) -> Result<Self, RequestError> {
        match format {
            Format::Chat => ChatBody::read(body).map(|(head, body)| Self { head, body: Body::Chat(body) }),
        }
    }

    /// Returns the client's format.
    #[must_use]
    pub const fn format(&self) -> Format {
        match self.body {
            Body::Chat(_) => Format::Chat,
        }
    }

    /// Returns the bound of the prompt, with its text counted in tokens by `count`; `None` if the prompt has no bound.
    #[must_use]
    pub fn prompt_tokens_counted(&self, count: impl Fn(&str) -> u64) -> Option<u64> {
        let by_bytes = self.head.prompt_tokens_max?;
        match &self.body {
            Body::Chat(body) => body.prompt_tokens_counted(by_bytes, count),
        }
    }

    /// Returns the body for a provider of this format: the caller's bytes, except for the model, the cap and the gateway's own fields.
    #[must_use]
    pub fn upstream_body(&self, target: &Target<'_>) -> Vec<u8> {
        match &self.body {
            Body::Chat(body) => body.upstream_body(self.head.stream, target),
        }
    }
}
