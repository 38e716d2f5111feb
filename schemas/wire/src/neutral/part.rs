//! The content of turns and answers.

use super::Text;
use super::json::Json;
use super::signature::Signature;
use crate::call::Format;

/// A piece of content, in the order in which the model reads or writes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Part<'a> {
    Text {
        text: Text<'a>,
        citations: Vec<Citation<'a>>,
        cache: Option<Cache>,
        /// Google signs plain text too.
        signature: Option<Signature<'a>>,
    },
    /// The model's refusal to answer.
    Refusal(Text<'a>),
    Media(Media<'a>),
    ToolCall(ToolCall<'a>),
    /// The result of a call; it stands in a user's turn.
    ToolResult(ToolResult<'a>),
    Reasoning(Reasoning<'a>),
    /// An item or block that only one format knows, such as a trace of the vendor's own tools.
    Opaque {
        format: Format,
        raw: Json<'a>,
    },
}

impl<'a> Part<'a> {
    /// Returns the reasoning, if the part is some.
    #[must_use]
    pub const fn as_reasoning(&self) -> Option<&Reasoning<'a>> {
        if let Self::Reasoning(reasoning) = self { Some(reasoning) } else { None }
    }

    /// Returns the call, if the part is one.
    #[must_use]
    pub const fn as_tool_call(&self) -> Option<&ToolCall<'a>> {
        if let Self::ToolCall(call) = self { Some(call) } else { None }
    }

    /// Returns the media, if the part is one.
    pub const fn as_media_mut(&mut self) -> Option<&mut Media<'a>> {
        if let Self::Media(media) = self { Some(media) } else { None }
    }

    /// Creates a plain text.
    pub fn text(text: impl Into<Text<'a>>) -> Self {
        Self::Text { text: text.into(), citations: Vec::new(), cache: None, signature: None }
    }
}

/// A request to cache the prompt up to this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// The vendor's default lifetime.
    Default,
    FiveMinutes,
    OneHour,
}

/// A kind of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    Image,
    Audio,
    /// A PDF or another document.
    Document,
}

/// An image, a sound or a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Media<'a> {
    pub kind: MediaKind,
    pub source: Source<'a>,
    /// The type, such as `image/png` or `application/pdf`; `None` if the caller does not name it.
    pub mime: Option<Text<'a>>,
    /// The file's name or title.
    pub name: Option<Text<'a>>,
    /// OpenAI's `detail` of an image: auto, low, high or original.
    pub detail: Option<Text<'a>>,
    pub cache: Option<Cache>,
}

/// The place of a media's bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Source<'a> {
    /// Standard base64, as it arrived; URL-safe text is converted by its reader.
    Base64(Text<'a>),
    /// An http or https address, or a vendor's own scheme.
    Url(Text<'a>),
    /// A file that is stored at the vendor of that format.
    File { format: Format, id: Text<'a> },
    /// Plain text, as a document.
    Text(Text<'a>),
}

/// A call of a tool by the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall<'a> {
    /// The id that the result refers to. A reader of a format without ids makes `call_{index}_{name}`.
    pub id: Text<'a>,
    pub name: Text<'a>,
    /// The arguments as JSON text, which may be invalid; the free text of a custom tool. Empty means none.
    pub arguments: Text<'a>,
    /// Whether the tool takes free text instead of JSON.
    pub is_custom: bool,
    /// Google's `thoughtSignature` of the call.
    pub signature: Option<Signature<'a>>,
    pub cache: Option<Cache>,
}

/// The result of a tool's call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult<'a> {
    /// The id of the call.
    pub call_id: Text<'a>,
    /// The tool's name; only some formats say it. Writers that need it look for the call.
    pub name: Option<Text<'a>>,
    /// Texts and media.
    pub content: Vec<Part<'a>>,
    pub is_error: bool,
    /// Whether the call was of a custom tool.
    pub is_custom: bool,
    pub cache: Option<Cache>,
}

/// The model's reasoning.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reasoning<'a> {
    /// The visible text; empty if there is only a signature.
    pub text: Text<'a>,
    /// Whether the text is a summary of the reasoning, not the reasoning itself.
    pub is_summary: bool,
    /// The vendor's proof of the text.
    pub signature: Option<Signature<'a>>,
    /// The reasoning in encrypted form: Anthropic's `redacted_thinking`, OpenAI's `encrypted_content`.
    pub encrypted: Option<Signature<'a>>,
    /// OpenAI's id of the item.
    pub id: Option<Text<'a>>,
}

/// A reference from a text to its source.
#[derive(Debug, Clone, PartialEq)]
pub enum Citation<'a> {
    /// A page of the web. The range counts characters of the text.
    Url { url: Text<'a>, title: Option<Text<'a>>, start: Option<u64>, end: Option<u64> },
    /// Any other reference, in the shape of its format.
    Opaque { format: Format, raw: Json<'a> },
}
