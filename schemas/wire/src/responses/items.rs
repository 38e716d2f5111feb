//! Items of conversations and answers, read into the neutral form.

use serde_json::value::RawValue;

use super::annotation;
use crate::call::Format;
use crate::fields::Fields;
use crate::neutral::{Cache, Media, MediaKind, Part, Reasoning, Role, Signature, Source, Text, ToolCall, ToolResult, Vendor};

pub use crate::fields::text;

/// An item of the conversation or of an answer.
#[derive(Debug)]
pub enum Item<'a> {
    Message {
        role: Role,
        parts: Vec<Part<'a>>,
        /// The arrays of token probabilities of its texts.
        logprobs: Vec<&'a RawValue>,
    },
    Call(ToolCall<'a>),
    Result(ToolResult<'a>),
    /// Each text of the item on its own; the encrypted form belongs to the last one.
    Reasoning(Vec<Reasoning<'a>>),
    /// An item that the neutral form has no place for, with the side of the conversation that it is on.
    Opaque(Role, &'a RawValue),
}

/// Returns a member that is not null.
pub fn present<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    fields.get(name).filter(|raw| raw.get() != "null")
}

/// Returns the text of a member; `None` if it is absent or no string.
pub fn member<'a>(fields: &Fields<'a>, name: &str) -> Option<Text<'a>> {
    text(fields.get(name)?)
}

/// Returns the elements of an array member; none if it is absent or no array.
pub fn list<'a>(fields: &Fields<'a>, name: &str) -> Vec<&'a RawValue> {
    present(fields, name).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

/// Reads an item; `None` if it is no object, or a message without a known role.
pub fn read(raw: &RawValue) -> Option<Item<'_>> {
    let fields = Fields::parse(raw.get().as_bytes()).ok()?;
    let kind = member(&fields, "type").unwrap_or_else(|| "message".into());
    let item = match kind.as_ref() {
        "message" => {
            let role = role(&member(&fields, "role")?)?;
            return Some(message(&fields, role).unwrap_or(Item::Opaque(role, raw)));
        }
        "function_call" => call(&fields, "arguments").map(Item::Call),
        "custom_tool_call" => call(&fields, "input").map(|call| Item::Call(ToolCall { is_custom: true, ..call })),
        "function_call_output" => result(&fields).map(Item::Result),
        "custom_tool_call_output" => result(&fields).map(|result| Item::Result(ToolResult { is_custom: true, ..result })),
        "reasoning" => Some(Item::Reasoning(reasoning(&fields))),
        _ => None,
    };
    let is_callers = kind.ends_with("_output") || matches!(kind.as_ref(), "mcp_approval_response" | "compaction_trigger");
    Some(item.unwrap_or(Item::Opaque(if is_callers { Role::User } else { Role::Assistant }, raw)))
}

fn role(name: &str) -> Option<Role> {
    match name {
        "system" => Some(Role::System),
        "developer" => Some(Role::Developer),
        "user" => Some(Role::User),
        "assistant" => Some(Role::Assistant),
        _ => None,
    }
}

fn message<'a>(fields: &Fields<'a>, role: Role) -> Option<Item<'a>> {
    let raw = present(fields, "content")?;
    let Some(plain) = text(raw) else {
        let raws: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        let parts = raws.iter().map(|raw| part(raw)).collect::<Option<Vec<_>>>()?;
        let logprobs = raws.into_iter().filter_map(|raw| present(&Fields::parse(raw.get().as_bytes()).ok()?, "logprobs")).collect();
        return Some(Item::Message { role, parts, logprobs });
    };
    Some(Item::Message { role, parts: vec![Part::text(plain)], logprobs: Vec::new() })
}

/// Reads a part of a message or of a result; `None` if it is of an unknown kind.
pub fn part(raw: &RawValue) -> Option<Part<'_>> {
    let fields = Fields::parse(raw.get().as_bytes()).ok()?;
    match member(&fields, "type")?.as_ref() {
        "input_text" | "output_text" | "text" => Some(Part::Text {
            text: member(&fields, "text")?,
            citations: list(&fields, "annotations").into_iter().map(annotation::read).collect(),
            cache: cache(&fields),
            signature: None,
        }),
        "refusal" => member(&fields, "refusal").map(Part::Refusal),
        "input_image" => image(&fields).map(Part::Media),
        "input_file" => file(&fields).map(Part::Media),
        _ => None,
    }
}

/// Reads OpenAI's breakpoint, or the `cache_control` that Anthropic's clients know.
pub fn cache(fields: &Fields<'_>) -> Option<Cache> {
    let Some(control) = present(fields, "cache_control") else {
        return present(fields, "prompt_cache_breakpoint").map(|_| Cache::Default);
    };
    let ttl = Fields::parse(control.get().as_bytes()).ok().and_then(|control| member(&control, "ttl"));
    Some(match ttl.as_deref() {
        Some("5m") => Cache::FiveMinutes,
        Some("1h") => Cache::OneHour,
        Some(_) | None => Cache::Default,
    })
}

fn media<'a>(fields: &Fields<'a>, kind: MediaKind, source: Source<'a>, mime: Option<Text<'a>>) -> Media<'a> {
    Media { kind, source, mime, name: member(fields, "filename"), detail: member(fields, "detail"), cache: cache(fields) }
}

fn image<'a>(fields: &Fields<'a>) -> Option<Media<'a>> {
    let Some(url) = member(fields, "image_url") else {
        let id = member(fields, "file_id")?;
        return Some(media(fields, MediaKind::Image, Source::File { format: Format::Responses, id }, None));
    };
    Some(match data_url(&url) {
        Some((mime, data)) => media(fields, MediaKind::Image, Source::Base64(data.into()), Some(mime.into())),
        None => media(fields, MediaKind::Image, Source::Url(url), None),
    })
}

fn file<'a>(fields: &Fields<'a>) -> Option<Media<'a>> {
    let source = if let Some(data) = member(fields, "file_data") {
        match data_url(&data) {
            Some((mime, data)) => return Some(media(fields, MediaKind::Document, Source::Base64(data.into()), Some(mime.into()))),
            None => Source::Base64(data),
        }
    } else if let Some(url) = member(fields, "file_url") {
        Source::Url(url)
    } else {
        Source::File { format: Format::Responses, id: member(fields, "file_id")? }
    };
    Some(media(fields, MediaKind::Document, source, None))
}

/// Splits `data:image/png;base64,…` into type and base64.
fn data_url(url: &str) -> Option<(String, String)> {
    let (mime, data) = url.strip_prefix("data:")?.split_once(";base64,")?;
    Some((mime.to_owned(), data.to_owned()))
}

/// Reads a call; `None` if it has members that a plain call does not have.
pub fn call<'a>(fields: &Fields<'a>, arguments: &str) -> Option<ToolCall<'a>> {
    if present(fields, "namespace").is_some() || present(fields, "caller").is_some() {
        return None;
    }
    Some(ToolCall {
        id: member(fields, "call_id").or_else(|| member(fields, "id"))?,
        name: member(fields, "name")?,
        arguments: member(fields, arguments).unwrap_or_default(),
        is_custom: false,
        signature: None,
        cache: None,
    })
}

fn result<'a>(fields: &Fields<'a>) -> Option<ToolResult<'a>> {
    if present(fields, "namespace").is_some() || present(fields, "caller").is_some() {
        return None;
    }
    let raw = present(fields, "output")?;
    let content = match text(raw) {
        Some(plain) => vec![Part::text(plain)],
        None => serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok()?.into_iter().map(part).collect::<Option<_>>()?,
    };
    let call_id = member(fields, "call_id")?;
    Some(ToolResult { call_id, name: member(fields, "name"), content, is_error: false, is_custom: false, cache: None })
}

/// Reads a reasoning item. A foreign signature beside a text proves that text; without any text it is the reasoning itself.
pub fn reasoning<'a>(fields: &Fields<'a>) -> Vec<Reasoning<'a>> {
    let id = member(fields, "id");
    let of = |name: &str, is_summary: bool| {
        let texts = list(fields, name).into_iter().filter_map(|raw| member(&Fields::parse(raw.get().as_bytes()).ok()?, "text"));
        texts.map(|text| Reasoning { text, is_summary, id: id.clone(), ..Reasoning::default() }).collect::<Vec<_>>()
    };
    let mut all = of("summary", true);
    all.extend(of("content", false));
    let has_text = !all.is_empty();
    if !has_text {
        all.push(Reasoning { id, ..Reasoning::default() });
    }
    let encrypted =
        member(fields, "encrypted_content").filter(|text| !text.is_empty()).map(|text| Signature::unwrapped(text, Vendor::OpenAi));
    if let (Some(last), Some(encrypted)) = (all.last_mut(), encrypted) {
        if has_text && encrypted.vendor != Vendor::OpenAi {
            last.signature = Some(encrypted);
        } else {
            last.encrypted = Some(encrypted);
        }
    }
    all
}
