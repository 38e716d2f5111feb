//! The operation that a client asks for: the format of its route, and what the address says.

use wire::call::{Addressed, Call, Format, RequestError};

/// An operation on a model.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The client's format.
    pub format: Format,
    /// The model in the address; only Google's formats have it there.
    pub model: Option<String>,
    /// Whether the address asks for a stream.
    pub stream: bool,
    /// Whether the prompt is only counted, so that no bound on the answer is needed.
    pub is_count: bool,
}

impl Operation {
    /// Returns the operation of a route whose body says everything.
    #[must_use]
    pub const fn of(format: Format) -> Self {
        Self { format, model: None, stream: false, is_count: false }
    }

    /// Returns the operation of a route whose address names the model.
    #[must_use]
    pub fn at(format: Format, model: &str) -> Self {
        Self { model: Some(model.to_owned()), ..Self::of(format) }
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// Fails if the body is not a request of the format; the error names the field.
    pub fn read<'a>(&self, body: &'a [u8]) -> Result<Call<'a>, RequestError> {
        Call::read(self.format, body, &Addressed { model: self.model.as_deref(), stream: self.stream, is_count: self.is_count })
    }
}
