//! Errors as clients read them: one value, written in the format of the route.

use events::request::Format;
use serde_json::Value;

use crate::openai::error::ErrorBody;

/// An error for a client.
#[derive(Debug, Clone, Copy)]
pub struct ClientError<'a> {
    /// The text for people.
    pub message: &'a str,
    /// OpenAI's `type`.
    pub kind: &'a str,
    /// The code for programs.
    pub code: &'a str,
    /// The faulty field.
    pub param: Option<&'a str>,
    /// An object with further details.
    pub metadata: &'a Value,
}

impl ClientError<'_> {
    /// Returns the body of a response as JSON text.
    #[must_use]
    pub fn body(&self, format: Format) -> String {
        match format {
            Format::Chat => ErrorBody::new(self).to_text(),
        }
    }

    /// Returns the error object inside a frame of a stream as JSON text.
    #[must_use]
    pub fn in_frame(&self, format: Format) -> String {
        match format {
            Format::Chat => ErrorBody::new(self).inner_text(),
        }
    }
}
