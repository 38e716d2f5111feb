//! Contents as they are written: in requests to providers, and in answers to clients.

use serde::{Serialize, Serializer};

use super::base64;
use crate::call::Format;
use crate::neutral::{Json, Media, Source, Text, ToolCall};

/// A content of a conversation or an answer.
#[derive(Debug, Serialize)]
pub struct ContentBody<'a> {
    pub parts: Vec<Piece<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
}

/// A part, typed or as it arrived.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Piece<'a> {
    Typed(Box<PartBody<'a>>),
    Raw(&'a Json<'a>),
}

impl<'a> Piece<'a> {
    pub fn text(text: &'a str, signature: Option<Text<'a>>) -> Self {
        PartBody { text: Some(text), thought_signature: signature, ..PartBody::default() }.into()
    }

    pub fn thought(text: &'a str, signature: Option<Text<'a>>) -> Self {
        PartBody { text: Some(text), thought: Some(true), thought_signature: signature, ..PartBody::default() }.into()
    }
}

impl<'a> From<PartBody<'a>> for Piece<'a> {
    fn from(part: PartBody<'a>) -> Self {
        Self::Typed(Box::new(part))
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_data: Option<BlobBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_data: Option<FileBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<CallBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_response: Option<ResultBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought_signature: Option<Text<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    mime_type: &'a str,
    data: Text<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'a str>,
    file_uri: &'a str,
}

#[derive(Debug, Serialize)]
pub struct CallBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    pub name: &'a str,
    pub args: Json<'a>,
}

#[derive(Debug, Serialize)]
pub struct ResultBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    pub name: &'a str,
    pub response: Response,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Piece<'a>>,
}

/// The object of a result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    Output(String),
    Error(String),
}

/// Returns the arguments of a call as an object; `None` if they are none. The text of a custom tool becomes its only argument.
pub fn arguments(call: &ToolCall<'_>) -> Option<Json<'static>> {
    if call.is_custom {
        return Some(input(&call.arguments));
    }
    match call.arguments.trim() {
        "" => Json::parse("{}"),
        text if text.starts_with('{') => Json::parse(text),
        _ => None,
    }
}

/// Returns a free text as the object with one argument.
pub fn input(text: &str) -> Json<'static> {
    #[derive(Serialize)]
    struct Input<'a> {
        input: &'a str,
    }
    Json::of(&Input { input: text })
}

/// Returns the part of a media; the error is the reason why there is none. Only the same format knows names.
pub fn media<'m>(media: &'m Media<'_>, source: Format) -> Result<PartBody<'m>, &'static str> {
    let display_name = media.name.as_deref().filter(|_| source == Format::Generate);
    let blob = |mime_type, data| PartBody { inline_data: Some(BlobBody { display_name, mime_type, data }), ..PartBody::default() };
    let file = |file_uri| PartBody {
        file_data: Some(FileBody { display_name, mime_type: media.mime.as_deref(), file_uri }),
        ..PartBody::default()
    };
    match (&media.source, media.mime.as_deref()) {
        (Source::Base64(data), Some(mime)) => Ok(blob(mime, Text::Borrowed(data.as_ref()))),
        (Source::Base64(_), None) => Err("name the type of its media"),
        (Source::Url(uri) | Source::File { format: Format::Generate, id: uri }, _) => Ok(file(uri.as_ref())),
        (Source::File { format: Format::Chat | Format::Responses | Format::Messages | Format::Embeddings(_), .. }, _) => {
            Err("a file that is stored at another vendor cannot be read; send its bytes")
        }
        (Source::Text(text), mime) => Ok(blob(mime.unwrap_or("text/plain"), base64::encode(text.as_bytes()).into())),
    }
}

/// The members of an object in order.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Text<'a>, Json<'a>)>);

impl<'a> Members<'a> {
    /// Adds a member, or replaces it.
    pub fn put(&mut self, name: impl Into<Text<'a>>, value: impl Into<Option<Json<'a>>>) {
        let (name, Some(value)) = (name.into(), value.into()) else { return };
        match self.0.iter_mut().find(|(member, _)| *member == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Adds a member unless it is there.
    pub fn put_if_absent(&mut self, name: &'a str, value: Json<'a>) {
        if !self.0.iter().any(|(member, _)| member == name) {
            self.0.push((name.into(), value));
        }
    }

    /// Adds an object unless it is empty.
    pub fn put_object(&mut self, name: &'static str, object: &Members<'_>) {
        if !object.0.is_empty() {
            self.put(name, Json::of(object));
        }
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
