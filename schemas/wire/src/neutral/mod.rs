//! The neutral form of requests, answers and streams: what one format says and another must say too.
//!
//! Each format has one reader into it and one writer out of it, so that no translator knows two vendors. The form is a superset: what
//! several formats share has one typed place; what only one format has stays opaque and goes back to that format alone.

pub mod request;
pub mod part;
pub mod answer;
pub mod event;
pub mod json;
pub mod signature;
pub mod fate;
mod own_member;

pub use answer::{Answer, Choice, Finish, Reason};
pub use event::{Assembler, Block, Delta, Event};
pub use json::Json;
pub(crate) use own_member::own_member;
pub use part::{Cache, Citation, Media, MediaKind, Part, Reasoning, Source, ToolCall, ToolResult};
pub use request::{Effort, Level, OutputFormat, Request, Role, Settings, Tool, ToolChoice, Turn};
pub use signature::{Signature, Vendor};

/// A text that is borrowed from the bytes it arrived as, unless it contains escapes.
pub type Text<'a> = std::borrow::Cow<'a, str>;

/// A field that the target format cannot express. The caller gets a 400 that names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{field}' cannot be sent to this model's provider: {reason}")]
pub struct Untranslatable {
    /// The field's name in the caller's format.
    pub field: Text<'static>,
    /// The obstacle, and the way around it.
    pub reason: Text<'static>,
}

impl Untranslatable {
    /// Creates the error for a field.
    pub fn new(field: impl Into<Text<'static>>, reason: impl Into<Text<'static>>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}
