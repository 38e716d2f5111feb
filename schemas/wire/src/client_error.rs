//! Errors as clients read them: one value, written in the format of the route.

use crate::call::{Embeddings, Format};
use serde_json::Value;

use crate::{chat, generate, messages};

/// An error for a client.
#[derive(Debug, Clone, Copy)]
pub struct ClientError<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The text for people.
    pub message: &'a str,
    /// OpenAI's `type`.
    pub kind: &'a str,
    /// The code for programs.
    pub code: &'a str,
    /// Whether OpenAI-like bodies have the status as their code, as OpenRouter's do.
    pub has_status_code: bool,
    /// The seconds to wait before a retry; `None` if unknown.
    pub retry_after_s: Option<u64>,
    /// The faulty field.
    pub param: Option<&'a str>,
    /// An object with further details.
    pub metadata: &'a Value,
}

impl ClientError<'_> {
    /// Returns the body of a response as JSON text.
    #[must_use]
    pub fn body(&self, format: Format, request_id: Option<&str>) -> String {
        match format {
            Format::Chat | Format::Responses | Format::Embeddings(Embeddings::OpenAi) => chat::error::body(self),
            Format::Messages => messages::error::body(self, request_id),
            Format::Generate | Format::Embeddings(Embeddings::EmbedContent | Embeddings::BatchEmbedContents) => generate::error::body(self),
        }
    }
}
