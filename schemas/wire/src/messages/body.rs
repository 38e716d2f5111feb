//! Content blocks as they are written, in requests and in answers.

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::neutral::{Cache, Json, Text};

/// A content block.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Block<'a> {
    Typed(Typed<'a>),
    /// A block that is written as it came.
    Raw(Json<'a>),
}

/// A block whose content the neutral form knows.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Typed<'a> {
    Text {
        text: Text<'a>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        citations: Vec<Json<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<Text<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Thinking {
        thinking: Text<'a>,
        signature: Text<'a>,
    },
    RedactedThinking {
        data: Text<'a>,
    },
    ToolUse {
        id: Text<'a>,
        name: Text<'a>,
        input: Json<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolResult {
        tool_use_id: Text<'a>,
        #[serde(skip_serializing_if = "Content::is_empty")]
        content: Content<'a>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

/// The place of an image's or a document's bytes.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source<'a> {
    Base64 { media_type: Text<'a>, data: Text<'a> },
    Text { media_type: &'static str, data: Text<'a> },
    Url { url: Text<'a> },
    File { file_id: Text<'a> },
}

/// The mark of a place up to which the prompt is cached.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CacheControl {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl From<Cache> for CacheControl {
    fn from(cache: Cache) -> Self {
        let ttl = match cache {
            Cache::Default => None,
            Cache::FiveMinutes => Some("5m"),
            Cache::OneHour => Some("1h"),
        };
        Self { r#type: "ephemeral", ttl }
    }
}

/// Content, which is written as a string if it is one plain text.
#[derive(Debug, Clone, Default)]
pub struct Content<'a>(pub Vec<Block<'a>>);

impl Content<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Content<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [Block::Typed(Typed::Text { text, citations, cache_control: None })] if citations.is_empty() => serializer.serialize_str(text),
            blocks => serializer.collect_seq(blocks),
        }
    }
}

impl<'a> Block<'a> {
    /// Creates a plain text.
    pub fn text(text: impl Into<Text<'a>>) -> Self {
        Self::Typed(Typed::Text { text: text.into(), citations: Vec::new(), cache_control: None })
    }
}

/// Returns the arguments of a call as an object; `None` if they are another value, or not JSON.
pub fn input(arguments: &str) -> Option<Json<'_>> {
    if arguments.trim_ascii().is_empty() {
        return Json::parse("{}");
    }
    let raw: &RawValue = serde_json::from_str(arguments).ok()?;
    Some(Json::from(raw)).filter(|raw| raw.get().starts_with('{'))
}

/// Returns free text as the object that stands for it.
pub fn free_input(text: &str) -> Json<'static> {
    Json::of(&json!({ "input": text }))
}
