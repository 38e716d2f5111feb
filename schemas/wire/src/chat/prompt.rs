//! The messages of a chat request as a prompt: the text, the images, and everything that has no bound.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::request::{is_plain, wrong};
use crate::call::RequestError;
use crate::fields::{self, Fields, each};

/// Tokens that a template puts around a message. OpenAI's takes 3, and 1 for a name; the bytes of the role are counted separately.
pub const MESSAGE_TOKENS: u64 = 8;
/// Members of a message that are text, or that refer to text in the request.
const MESSAGE_FIELDS: [&str; 15] = [
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "refusal",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "thinking",
    "cache_control",
    "id",
    "type",
    "annotations",
];
/// Members of a text part.
const TEXT_PART_FIELDS: [&str; 4] = ["type", "text", "cache_control", "annotations"];
/// The beginnings of addresses under which providers of Chat expect nothing but an image.
const IMAGE_SCHEMES: [&str; 3] = ["https://", "http://", "data:image/"];

/// A summary of the messages of a request.
#[derive(Default)]
pub struct Messages {
    count: usize,
    has_roles: bool,
    pub content: Content,
}

/// The content of messages that is not text.
#[derive(Default)]
pub struct Content {
    /// The number of images.
    pub images: u64,
    /// The bytes of the images' parts.
    pub image_bytes: u64,
    /// The bytes of everything that is neither text nor an image.
    pub other_bytes: u64,
}

/// The kind of a part of a message.
enum Kind {
    Text,
    Image,
    Other,
}

/// Reads the messages of a request.
///
/// # Errors
/// Fails if they are not an array of objects with roles.
pub fn read(fields: &Fields<'_>) -> Result<Messages, RequestError> {
    let raw = fields.get("messages").ok_or_else(|| wrong("messages", "it is required"))?;
    let mut all = Messages { has_roles: true, ..Messages::default() };
    let read = each(raw, |message: Fields<'_>| {
        all.count += 1;
        all.has_roles &= message.get("role").is_some_and(|role| role.get().starts_with('"'));
        all.content.add(&message);
    });
    read.map_err(|_| wrong("messages", "it must be an array of objects, each with a 'role'"))?;
    match all {
        Messages { count: 0, .. } => Err(wrong("messages", "it must have at least one message")),
        Messages { has_roles: false, .. } => Err(wrong("messages", "each message must have a 'role'")),
        all => Ok(all),
    }
}

/// Returns the prompt's bound, which is at most `by_bytes`. `count` counts the plain text of messages; images count nothing, and
/// everything else counts by its bytes.
pub fn tokens_counted(raw: &RawValue, by_bytes: u64, count: impl Fn(&str) -> u64) -> Option<u64> {
    let mut counted = 0_u64;
    let mut content = Content::default();
    each(raw, |message| {
        counted = counted.saturating_add(message_tokens(&message, &count));
        content.add(&message);
    })
    .ok()?;
    let bytes = length(raw).saturating_sub(content.image_bytes);
    Some(by_bytes.saturating_sub(bytes).saturating_add(counted).min(by_bytes))
}

impl Content {
    /// Adds what a message has beside text: parts of any type but `text`, and members that may refer to other content.
    fn add(&mut self, message: &Fields<'_>) {
        for (name, raw) in &message.0 {
            match name.as_ref() {
                "content" => self.add_content(raw),
                name if MESSAGE_FIELDS.contains(&name) || is_plain(raw) => {}
                _ => self.add_other(raw),
            }
        }
    }

    fn add_content(&mut self, raw: &RawValue) {
        match raw.get().as_bytes().first() {
            Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
                Ok(parts) => parts.into_iter().for_each(|part| self.add_part(part)),
                Err(_) => self.add_other(raw),
            },
            Some(b'{') => self.add_other(raw),
            _ => {}
        }
    }

    fn add_part(&mut self, part: &RawValue) {
        match kind(part) {
            Kind::Text => {}
            Kind::Image => {
                self.images = self.images.saturating_add(1);
                self.image_bytes = self.image_bytes.saturating_add(length(part));
            }
            Kind::Other => self.add_other(part),
        }
    }

    fn add_other(&mut self, raw: &RawValue) {
        self.other_bytes = self.other_bytes.saturating_add(length(raw));
    }
}

/// Returns the kind of a part. A part with a member that is unknown, or that is given twice, is neither a text nor an image.
fn kind(raw: &RawValue) -> Kind {
    let Ok(part) = Fields::parse(raw.get().as_bytes()) else { return if raw.get().starts_with('"') { Kind::Text } else { Kind::Other } };
    let has_only = |names: &[&str]| part.repeated().is_none() && part.0.iter().all(|(name, _)| names.contains(&name.as_ref()));
    match part.read::<String>("type").ok().flatten().as_deref() {
        Some("text") if has_only(&TEXT_PART_FIELDS) => Kind::Text,
        Some("image_url") if has_only(&["type", "image_url"]) && part.get("image_url").is_some_and(is_image) => Kind::Image,
        _ => Kind::Other,
    }
}

/// Returns whether a value is the address of an image, with its `detail`.
fn is_image(raw: &RawValue) -> bool {
    let Ok(image) = Fields::parse(raw.get().as_bytes()) else { return false };
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get());
    let is_address = |raw: &'_ RawValue| {
        let Some(url) = fields::text(raw) else { return false };
        IMAGE_SCHEMES.iter().any(|scheme| url.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)))
    };
    let is_known = |(name, raw): &(Cow<'_, str>, &RawValue)| match name.as_ref() {
        "url" => is_address(raw),
        "detail" => raw.get() == "null" || text(raw).is_ok(),
        _ => false,
    };
    image.repeated().is_none() && image.get("url").is_some() && image.0.iter().all(is_known)
}

/// Returns an upper bound of a message's tokens without its images: the text of its content by `count`, everything else by its bytes.
fn message_tokens(message: &Fields<'_>, count: &impl Fn(&str) -> u64) -> u64 {
    let text = |raw: &RawValue| fields::text(raw).map(|text| count(&text));
    let plain = |raw: &RawValue| {
        let fields = Fields::parse(raw.get().as_bytes()).ok()?;
        let is_text = fields.0.len() == 2 && fields.get("type").is_some_and(|kind| kind.get() == "\"text\"");
        text(fields.get("text").filter(|_| is_text)?)
    };
    let part = |raw: &RawValue| match kind(raw) {
        Kind::Image => 0,
        Kind::Text | Kind::Other => plain(raw).unwrap_or_else(|| length(raw)),
    };
    let parts = |raw: &RawValue| {
        let parts: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        Some(parts.into_iter().map(part).sum())
    };
    let counts = message.0.iter().map(|(name, raw)| match name.as_ref() {
        "content" => text(raw).or_else(|| parts(raw)).unwrap_or_else(|| length(raw)),
        _ => length(raw),
    });
    counts.sum::<u64>().saturating_add(MESSAGE_TOKENS)
}

/// Returns the bytes of a raw value.
pub fn length(raw: &RawValue) -> u64 {
    u64::try_from(raw.get().len()).unwrap_or(u64::MAX)
}
