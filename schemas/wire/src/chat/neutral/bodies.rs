//! The bodies that requests, answers and streams of Chat share.

use serde::Serialize;

use crate::call::Format;
use crate::neutral::{Cache, Citation, Json, Signature, Text, ToolCall, Vendor};

/// A call of a tool.
#[derive(Debug, Serialize)]
pub struct CallBody<'a> {
    /// The number of the call; only pieces of a stream have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Text<'a>>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<ExtraBody<'a>>,
}

#[derive(Debug, Serialize)]
pub struct FunctionBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    pub arguments: &'a str,
}

#[derive(Debug, Serialize)]
pub struct CustomBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    pub input: &'a str,
}

/// Google's addition to a call. Source: Google's description of its compatibility with OpenAI.
#[derive(Debug, Serialize)]
pub struct ExtraBody<'a> {
    google: GoogleBody<'a>,
}

#[derive(Debug, Serialize)]
struct GoogleBody<'a> {
    thought_signature: &'a str,
}

impl<'a> ExtraBody<'a> {
    /// Returns the place of Google's signature; other vendors have none.
    pub fn of(signature: &'a Signature<'_>) -> Option<Self> {
        let is_google = signature.vendor == Vendor::Google;
        is_google.then(|| Self { google: GoogleBody { thought_signature: &signature.data } })
    }
}

impl<'a> CallBody<'a> {
    /// Creates a whole call. Empty arguments are written as an empty object, since clients parse them.
    pub fn whole(call: &'a ToolCall<'_>, id: Text<'a>) -> Self {
        let arguments = if call.arguments.trim().is_empty() && !call.is_custom { "{}" } else { &call.arguments };
        Self { id: Some(id), ..Self::piece(None, Some(&call.name), arguments, call.is_custom) }
    }

    /// Creates a piece of a call; the first one has its name.
    pub fn piece(index: Option<usize>, name: Option<&'a str>, arguments: &'a str, is_custom: bool) -> Self {
        let kind = name.map(|_| if is_custom { "custom" } else { "function" });
        Self {
            index,
            id: None,
            kind,
            function: (!is_custom).then_some(FunctionBody { name, arguments }),
            custom: is_custom.then_some(CustomBody { name, input: arguments }),
            extra_content: None,
        }
    }
}

/// One of OpenRouter's `reasoning_details`. Source: OpenRouter's API reference, reasoning tokens.
#[derive(Debug, Default, Serialize)]
pub struct DetailBody<'a> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<&'static str>,
    pub index: usize,
}

impl<'a> DetailBody<'a> {
    /// Creates the detail of a visible text.
    pub fn text(text: &'a str, is_summary: bool, index: usize) -> Self {
        if is_summary {
            return Self { kind: "reasoning.summary", summary: Some(text), index, ..Self::default() };
        }
        Self { kind: "reasoning.text", text: Some(text), index, ..Self::default() }
    }

    /// Creates the detail of encrypted reasoning, or of the signature of a text or call.
    pub fn encrypted(data: &'a Signature<'_>, id: Option<Text<'a>>, index: usize) -> Self {
        let format = Some(data.vendor.format());
        Self { kind: "reasoning.encrypted", data: Some(&data.data), id, format, index, ..Self::default() }
    }

    /// Adds the signature of the text.
    pub fn signed(self, signature: &'a Signature<'_>) -> Self {
        Self { signature: Some(&signature.data), format: Some(signature.vendor.format()), ..self }
    }
}

/// A mark for a cache, as OpenRouter takes it from Anthropic.
#[derive(Debug, Serialize)]
pub struct CacheBody {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl From<Cache> for CacheBody {
    fn from(cache: Cache) -> Self {
        let ttl = match cache {
            Cache::Default => None,
            Cache::FiveMinutes => Some("5m"),
            Cache::OneHour => Some("1h"),
        };
        Self { kind: "ephemeral", ttl }
    }
}

/// A reference from the text of an answer to its source.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum AnnotationBody<'a> {
    Url {
        #[serde(rename = "type")]
        kind: &'static str,
        url_citation: UrlBody<'a>,
    },
    Raw(&'a Json<'a>),
}

#[derive(Debug, Serialize)]
pub struct UrlBody<'a> {
    url: &'a str,
    title: &'a str,
    start_index: u64,
    end_index: u64,
}

impl<'a> AnnotationBody<'a> {
    /// Creates the annotation of a citation; `None` if Chat has no such kind. `text` is the range of the cited text within the whole
    /// content, in characters: it stands for a range that the citation does not tell.
    pub fn of(citation: &'a Citation<'a>, text: (u64, u64)) -> Option<Self> {
        match citation {
            Citation::Url { url, title, start, end } => {
                let url_citation = UrlBody {
                    url,
                    title: title.as_deref().unwrap_or_default(),
                    start_index: start.map_or(text.0, |start| start.saturating_add(text.0)),
                    end_index: end.map_or(text.1, |end| end.saturating_add(text.0)),
                };
                Some(Self::Url { kind: "url_citation", url_citation })
            }
            Citation::Opaque { format: Format::Chat, raw } => Some(Self::Raw(raw)),
            Citation::Opaque { .. } => None,
        }
    }
}

/// Returns the number of characters of a text.
pub fn characters(text: &str) -> u64 {
    u64::try_from(text.chars().count()).unwrap_or(u64::MAX)
}
