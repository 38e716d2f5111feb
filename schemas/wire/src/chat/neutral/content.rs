//! The parts of a message's content, both ways.

use serde::Serialize;
use serde_json::value::RawValue;

use super::bodies::CacheBody;
use super::raw::{array, has_only, is_blank, object, object_of, text, text_of};
use crate::call::Format;
use crate::fields::Fields;
use crate::neutral::{Cache, Json, Media, MediaKind, Part, Reasoning, Source, Text};

/// The members of any part that say where a cache may end.
const CACHE_FIELDS: [&str; 2] = ["cache_control", "prompt_cache_breakpoint"];
/// The type of a document whose type nobody names.
const DOCUMENT_MIME: &str = "application/pdf";

/// Reads the content of a message: nothing, a text, or an array of parts. An empty text is no part. Returns `None` for anything else.
pub fn read(raw: Option<&RawValue>) -> Option<Vec<Part<'_>>> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Some(Vec::new()) };
    match text(raw) {
        Some(text) if text.is_empty() => Some(Vec::new()),
        Some(text) => Some(vec![Part::text(text)]),
        None => array(raw)?.into_iter().map(read_part).collect(),
    }
}

/// Reads a part. One that is not known, or that has a member that is not known, stays opaque. Returns `None` if it is no part at all.
pub fn read_part(raw: &RawValue) -> Option<Part<'_>> {
    if let Some(text) = text(raw) {
        return Some(Part::text(text));
    }
    let part = object(raw)?;
    let kind = text_of(&part, "type").unwrap_or_default();
    let known = match kind.as_ref() {
        "text" => text_part(&part),
        "refusal" => text_of(&part, "refusal").filter(|_| has_only(&part, &["type", "refusal"])).map(Part::Refusal),
        "image_url" => image(&part).map(Part::Media),
        "input_audio" => audio(&part).map(Part::Media),
        "file" => file(&part).map(Part::Media),
        "thinking" => thinking(&part),
        _ => None,
    };
    Some(known.unwrap_or_else(|| Part::Opaque { format: Format::Chat, raw: raw.into() }))
}

fn text_part<'a>(part: &Fields<'a>) -> Option<Part<'a>> {
    let cache = cache(part)?;
    let is_known = has_only(part, &["type", "text", "annotations", CACHE_FIELDS[0], CACHE_FIELDS[1]]);
    let text = text_of(part, "text").filter(|_| is_known)?;
    Some(Part::Text { text, citations: Vec::new(), cache, signature: None })
}

/// Reads the mark for a cache in a part, a message or a tool; `None` if its shape is not known.
pub fn cache(fields: &Fields<'_>) -> Option<Option<Cache>> {
    let said = |name: &str| fields.get(name).filter(|raw| !is_blank(raw));
    let Some(raw) = said(CACHE_FIELDS[0]) else { return Some(said(CACHE_FIELDS[1]).map(|_| Cache::Default)) };
    let mark = object(raw).filter(|mark| has_only(mark, &["type", "ttl"]))?;
    match (text_of(&mark, "type")?.as_ref(), text_of(&mark, "ttl").as_deref()) {
        ("ephemeral", None) => Some(Some(Cache::Default)),
        ("ephemeral", Some("5m")) => Some(Some(Cache::FiveMinutes)),
        ("ephemeral", Some("1h")) => Some(Some(Cache::OneHour)),
        _ => None,
    }
}

/// Reads OpenAI's `{image_url: {url, detail}}`, or Mistral's `{image_url: url}`.
fn image<'a>(part: &Fields<'a>) -> Option<Media<'a>> {
    if !has_only(part, &["type", "image_url", CACHE_FIELDS[0], CACHE_FIELDS[1]]) {
        return None;
    }
    let raw = part.get("image_url")?;
    let (url, detail) = if let Some(url) = text(raw) {
        (url, None)
    } else {
        let image = object(raw).filter(|image| has_only(image, &["url", "detail"]))?;
        (text_of(&image, "url")?, text_of(&image, "detail"))
    };
    let (source, mime) = source(url);
    Some(Media { kind: MediaKind::Image, source, mime, name: None, detail, cache: cache(part)? })
}

/// Returns the source and the type that an address names; a data URL contains both.
fn source(url: Text<'_>) -> (Source<'_>, Option<Text<'_>>) {
    match url {
        Text::Borrowed(url) => match data_url(url) {
            Some((mime, data)) => (Source::Base64(data.into()), Some(mime.into())),
            None => (Source::Url(url.into()), None),
        },
        Text::Owned(url) => match data_url(&url) {
            Some((mime, data)) => (Source::Base64(data.to_owned().into()), Some(mime.to_owned().into())),
            None => (Source::Url(url.into()), None),
        },
    }
}

/// Splits `data:image/png;base64,…` into type and data.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let begin = url.get(..5)?;
    let (head, data) = url.get(5..)?.split_once(',')?;
    let mime = head.strip_suffix(";base64")?;
    (begin.eq_ignore_ascii_case("data:") && !mime.is_empty()).then_some((mime, data))
}

fn audio<'a>(part: &Fields<'a>) -> Option<Media<'a>> {
    if !has_only(part, &["type", "input_audio", CACHE_FIELDS[0], CACHE_FIELDS[1]]) {
        return None;
    }
    let audio = object_of(part, "input_audio").filter(|audio| has_only(audio, &["data", "format"]))?;
    let mime = match text_of(&audio, "format")?.as_ref() {
        "mp3" => "audio/mpeg".into(),
        format => format!("audio/{format}").into(),
    };
    let source = Source::Base64(text_of(&audio, "data")?);
    Some(Media { kind: MediaKind::Audio, source, mime: Some(mime), name: None, detail: None, cache: cache(part)? })
}

fn file<'a>(part: &Fields<'a>) -> Option<Media<'a>> {
    if !has_only(part, &["type", "file", CACHE_FIELDS[0], CACHE_FIELDS[1]]) {
        return None;
    }
    let file = object_of(part, "file").filter(|file| has_only(file, &["filename", "file_data", "file_id"]))?;
    let (source, mime) = match (text_of(&file, "file_data"), text_of(&file, "file_id")) {
        (None, Some(id)) => (Source::File { format: Format::Chat, id }, None),
        (Some(data), None) => match source(data) {
            // Data without a prefix is bare base64.
            (Source::Url(data), _) if !data.contains(':') => (Source::Base64(data), None),
            source => source,
        },
        _ => return None,
    };
    Some(Media { kind: MediaKind::Document, source, mime, name: text_of(&file, "filename"), detail: None, cache: cache(part)? })
}

/// Reads Mistral's `{type: thinking, thinking: [{type: text, text}]}`.
fn thinking<'a>(part: &Fields<'a>) -> Option<Part<'a>> {
    if !has_only(part, &["type", "thinking", "closed"]) {
        return None;
    }
    let raw = part.get("thinking")?;
    let text = match text(raw) {
        Some(text) => text,
        None => joined(array(raw)?)?,
    };
    Some(Part::Reasoning(Reasoning { text, ..Reasoning::default() }))
}

/// Joins the texts of parts; `None` if one of them is no text.
fn joined(parts: Vec<&RawValue>) -> Option<Text<'_>> {
    let mut all = Text::default();
    for part in parts {
        let text = text_of(&object(part)?, "text")?;
        if all.is_empty() {
            all = text;
        } else {
            all.to_mut().push_str(&text);
        }
    }
    Some(all)
}

/// The content of a message.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ContentBody<'a> {
    Null,
    Text(Text<'a>),
    Parts(Vec<PieceBody<'a>>),
}

/// A part, or the bytes of one that nobody else knows.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum PieceBody<'a> {
    Known(PartBody<'a>),
    Raw(&'a Json<'a>),
}

#[derive(Debug, Serialize)]
pub struct PartBody<'a> {
    #[serde(flatten)]
    kind: KindBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheBody>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum KindBody<'a> {
    Text { text: Text<'a> },
    ImageUrl { image_url: ImageBody<'a> },
    InputAudio { input_audio: AudioBody<'a> },
    File { file: FileBody<'a> },
}

/// An image by its address or data URL.
#[derive(Debug, Serialize)]
pub struct ImageBody<'a> {
    url: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct AudioBody<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Debug, Serialize)]
struct FileBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<&'a str>,
}

impl<'a> PieceBody<'a> {
    /// Creates a text part.
    pub fn text(text: Text<'a>, cache: Option<Cache>) -> Self {
        Self::of(KindBody::Text { text }, cache)
    }

    /// Creates the part of a media.
    ///
    /// # Errors
    /// Fails with the obstacle if Chat cannot carry it.
    pub fn media(media: &'a Media<'_>, cache: Option<Cache>) -> Result<Self, &'static str> {
        let kind = match media.kind {
            MediaKind::Image => KindBody::ImageUrl { image_url: ImageBody::of(media)? },
            MediaKind::Audio => KindBody::InputAudio { input_audio: audio_body(media)? },
            MediaKind::Document => document_body(media)?,
        };
        Ok(Self::of(kind, cache))
    }

    fn of(kind: KindBody<'a>, cache: Option<Cache>) -> Self {
        Self::Known(PartBody { kind, cache_control: cache.map(CacheBody::from) })
    }

    /// Returns the text of a part that is nothing else.
    pub fn into_plain(self) -> Result<Text<'a>, Self> {
        match self {
            Self::Known(PartBody { kind: KindBody::Text { text }, cache_control: None }) => Ok(text),
            Self::Known(_) | Self::Raw(_) => Err(self),
        }
    }
}

impl<'a> ContentBody<'a> {
    /// Creates the content of parts: a plain text if they are nothing else, and an empty one if there are none.
    pub fn of(mut pieces: Vec<PieceBody<'a>>) -> Self {
        match (pieces.pop(), pieces.is_empty()) {
            (None, _) => Self::Text(Text::default()),
            (Some(only), true) => only.into_plain().map_or_else(|only| Self::Parts(vec![only]), Self::Text),
            (Some(last), false) => {
                pieces.push(last);
                Self::Parts(pieces)
            }
        }
    }
}

impl<'a> ImageBody<'a> {
    /// Creates the body of an image.
    ///
    /// # Errors
    /// Fails with the obstacle if the image is stored at a vendor, or is text.
    pub fn of(media: &'a Media<'_>) -> Result<Self, &'static str> {
        let url = match &media.source {
            Source::Base64(data) => inline(media.mime.as_deref().unwrap_or("image/png"), data),
            Source::Url(url) => Text::Borrowed(url.as_ref()),
            Source::File { .. } => return Err("its API takes no stored images; send the image or its address"),
            Source::Text(_) => return Err("its API takes no images that are text"),
        };
        Ok(Self { url, detail: media.detail.as_deref() })
    }
}

fn inline<'a>(mime: &str, data: &str) -> Text<'a> {
    format!("data:{mime};base64,{data}").into()
}

fn audio_body<'a>(media: &'a Media<'_>) -> Result<AudioBody<'a>, &'static str> {
    let Source::Base64(data) = &media.source else { return Err("its API takes sound only inside the request") };
    let format = match media.mime.as_deref() {
        Some("audio/wav" | "audio/x-wav" | "audio/wave") => "wav",
        Some("audio/mpeg" | "audio/mp3") => "mp3",
        Some(_) | None => return Err("its API takes sound only as WAV or MP3"),
    };
    Ok(AudioBody { data, format })
}

/// Returns the body of a document: a file, or the text of one that is plain text.
fn document_body<'a>(media: &'a Media<'_>) -> Result<KindBody<'a>, &'static str> {
    let mut file = FileBody { filename: media.name.as_deref(), file_data: None, file_id: None };
    match &media.source {
        Source::Base64(data) => {
            file.file_data = Some(match media.mime.as_deref() {
                Some(mime) => inline(mime, data),
                None => Text::Borrowed(data.as_ref()),
            });
            // OpenAI refuses data without a name.
            file.filename = file.filename.or_else(|| (media.mime.as_deref() == Some(DOCUMENT_MIME)).then_some("document.pdf"));
        }
        Source::File { format: Format::Chat | Format::Responses, id } => file.file_id = Some(id),
        Source::File { .. } => return Err("the file is stored at another vendor; send its content"),
        Source::Url(_) => return Err("its API takes no addresses of files; send the file's content"),
        Source::Text(text) => {
            let text = match media.name.as_deref() {
                Some(name) => format!("{name}\n\n{text}").into(),
                None => Text::Borrowed(text.as_ref()),
            };
            return Ok(KindBody::Text { text });
        }
    }
    Ok(KindBody::File { file })
}
