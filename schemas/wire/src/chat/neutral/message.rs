//! The messages of a request, and the message of an answer, read into parts.

use std::collections::{HashMap, HashSet};

use serde_json::value::RawValue;

use super::content;
use super::raw::{array_of, has_only, is_blank, object, object_of, text, text_of};
use super::reasoning::{EMPTY_TEXT, Thoughts, interleave};
use crate::call::{Format, RequestError};
use crate::chat::request::wrong;
use crate::fields::Fields;
use crate::neutral::{Cache, Citation, Media, MediaKind, Part, Role, Signature, Source, Text, ToolCall, ToolResult, Turn, Vendor};

/// Members that any message may have; the last ones repeat what others say, or label it.
const MESSAGE_FIELDS: [&str; 7] = ["role", "content", "name", "cache_control", "id", "type", "parsed"];
/// Further members of the assistant's messages.
const ASSISTANT_FIELDS: [&str; 8] =
    ["refusal", "tool_calls", "reasoning", "reasoning_content", "reasoning_text", "thinking", "reasoning_details", "annotations"];

/// Reads the messages of a request. A message that is not known, or that has a member that is not known, becomes an opaque part.
///
/// # Errors
/// Fails if the messages are not an array of objects.
pub fn read<'a>(fields: &Fields<'a>) -> Result<Vec<Turn<'a>>, RequestError> {
    let error = || wrong("messages", "it must be an array of objects, each with a 'role'");
    let mut turns: Vec<Turn<'a>> = Vec::new();
    let mut customs: HashSet<Text<'a>> = HashSet::new();
    let mut is_after_result = false;
    for raw in array_of(fields, "messages").ok_or_else(error)? {
        let message = object(raw).ok_or_else(error)?;
        let role = text_of(&message, "role").ok_or_else(error)?;
        let result = if role == "tool" { result(&message, &customs) } else { None };
        let is_result = result.is_some();
        match (result, turns.last_mut()) {
            (Some(result), Some(last)) if is_after_result => last.parts.push(Part::ToolResult(result)),
            (Some(result), _) => turns.push(Turn { role: Role::User, parts: vec![Part::ToolResult(result)], name: None }),
            (None, _) => {
                let turn = turn(&role, &message).unwrap_or_else(|| opaque(&role, raw));
                customs.extend(turn.parts.iter().filter_map(custom_id));
                turns.push(turn);
            }
        }
        is_after_result = is_result;
    }
    Ok(turns)
}

/// Returns the id of a call of a custom tool.
fn custom_id<'a>(part: &Part<'a>) -> Option<Text<'a>> {
    match part {
        Part::ToolCall(call) => call.is_custom.then(|| call.id.clone()),
        Part::Text { .. } | Part::Refusal(_) | Part::Media(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => None,
    }
}

/// Returns a message that only Chat knows as a turn with one opaque part.
fn opaque<'a>(role: &str, raw: &'a RawValue) -> Turn<'a> {
    let role = match role {
        "system" => Role::System,
        "developer" => Role::Developer,
        "assistant" => Role::Assistant,
        _ => Role::User,
    };
    Turn { role, parts: vec![Part::Opaque { format: Format::Chat, raw: raw.into() }], name: None }
}

/// Reads a message; `None` if its shape is not known.
fn turn<'a>(role: &str, message: &Fields<'a>) -> Option<Turn<'a>> {
    let role = match role {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return None,
    };
    let mut parts = match role {
        Role::Assistant => {
            let is_known = |(name, raw): &(Text<'_>, &RawValue)| {
                MESSAGE_FIELDS.contains(&name.as_ref()) || ASSISTANT_FIELDS.contains(&name.as_ref()) || is_blank(raw)
            };
            message.0.iter().all(is_known).then(|| assistant(message, true))??
        }
        Role::System | Role::Developer | Role::User => {
            has_only(message, &MESSAGE_FIELDS).then(|| content::read(message.get("content")))??
        }
    };
    if let (Some(cache), Some(last)) = (content::cache(message)?, parts.last_mut()) {
        mark(last, cache);
    }
    Some(Turn { role, parts, name: text_of(message, "name") })
}

fn mark(part: &mut Part<'_>, mark: Cache) {
    match part {
        Part::Text { cache, .. }
        | Part::Media(Media { cache, .. })
        | Part::ToolCall(ToolCall { cache, .. })
        | Part::ToolResult(ToolResult { cache, .. }) => *cache = Some(mark),
        Part::Refusal(_) | Part::Reasoning(_) | Part::Opaque { .. } => {}
    }
}

/// Reads a message with the result of a tool; `None` if its shape is not known.
fn result<'a>(message: &Fields<'a>, customs: &HashSet<Text<'a>>) -> Option<ToolResult<'a>> {
    let is_known = message.0.iter().all(|(name, raw)| name == "tool_call_id" || MESSAGE_FIELDS.contains(&name.as_ref()) || is_blank(raw));
    let call_id = text_of(message, "tool_call_id").filter(|_| is_known)?;
    Some(ToolResult {
        is_custom: customs.contains(&call_id),
        call_id,
        name: text_of(message, "name"),
        content: content::read(message.get("content"))?,
        is_error: false,
        cache: content::cache(message)?,
    })
}

/// Reads the parts of an assistant's message. A strict reader returns `None` for a shape that is not known, another one passes over it.
pub fn assistant<'a>(message: &Fields<'a>, is_strict: bool) -> Option<Vec<Part<'a>>> {
    let list = |name: &str| if is_strict { array_of(message, name) } else { Some(array_of(message, name).unwrap_or_default()) };
    let mut parts = match content::read(message.get("content")) {
        Some(parts) => parts,
        None if is_strict => return None,
        None => Vec::new(),
    };
    let refusal = text_of(message, "refusal").filter(|text| !text.is_empty());
    parts.extend(refusal.map(Part::Refusal));
    cite(&mut parts, list("annotations")?);
    parts.extend(images(list("images")?));
    let mut calls = calls(list("tool_calls")?, is_strict)?;
    if let Some(call) = object_of(message, "function_call").and_then(|function| function_call(&function, calls.len())) {
        calls.push(call);
    }
    let mut thoughts = Thoughts::read(message, list("reasoning_details")?);
    sign(&mut parts, &mut calls, std::mem::take(&mut thoughts.signatures));
    parts.extend(calls.into_iter().map(Part::ToolCall));
    Some(interleave(thoughts.parts, parts))
}

/// Puts Google's signatures on their calls. One of no call belongs to the text, or to an empty one at its end.
fn sign<'a>(parts: &mut Vec<Part<'a>>, calls: &mut [ToolCall<'a>], signatures: Vec<(Option<Text<'a>>, Signature<'a>)>) {
    if signatures.is_empty() {
        return;
    }
    let places: HashMap<Text<'a>, usize> = calls.iter().enumerate().map(|(place, call)| (call.id.clone(), place)).collect();
    for (id, new) in signatures {
        let place = id.as_ref().and_then(|id| places.get(id));
        match place.and_then(|place| calls.get_mut(*place)) {
            Some(call) => call.signature = call.signature.take().or(Some(new)),
            None if id.as_deref() == Some(EMPTY_TEXT) => {
                parts.push(Part::Text { text: Text::default(), citations: Vec::new(), cache: None, signature: Some(new) });
            }
            None => match parts.last_mut() {
                Some(Part::Text { signature: signature @ None, .. }) => *signature = Some(new),
                _ => parts.push(Part::Text { text: Text::default(), citations: Vec::new(), cache: None, signature: Some(new) }),
            },
        }
    }
}

/// Puts citations on the first text.
fn cite<'a>(parts: &mut [Part<'a>], annotations: Vec<&'a RawValue>) {
    let first = parts.iter_mut().find(|part| matches!(part, Part::Text { .. }));
    if let Some(Part::Text { citations, .. }) = first {
        citations.extend(annotations.into_iter().map(annotation));
    }
}

/// Reads an annotation.
pub fn annotation(raw: &RawValue) -> Citation<'_> {
    let url = || {
        let annotation = object(raw).filter(|annotation| text_of(annotation, "type").as_deref() == Some("url_citation"))?;
        let cited = object_of(&annotation, "url_citation")?;
        let place = |name: &str| cited.read(name).ok().flatten();
        let (start, end) = (place("start_index"), place("end_index"));
        Some(Citation::Url { url: text_of(&cited, "url")?, title: text_of(&cited, "title"), start, end })
    };
    url().unwrap_or_else(|| Citation::Opaque { format: Format::Chat, raw: raw.into() })
}

/// Reads the images that OpenRouter puts beside the text of an answer.
fn images(images: Vec<&RawValue>) -> Vec<Part<'_>> {
    images.into_iter().filter_map(content::read_part).filter(|part| matches!(part, Part::Media(_))).collect()
}

fn calls(raw: Vec<&RawValue>, is_strict: bool) -> Option<Vec<ToolCall<'_>>> {
    let mut calls = Vec::with_capacity(raw.len());
    for raw in raw {
        match object(raw).filter(|call| !is_strict || is_known_call(call)).and_then(|fields| call(&fields, calls.len())) {
            Some(call) => calls.push(call),
            None if is_strict => return None,
            None => {}
        }
    }
    Some(calls)
}

fn is_known_call(call: &Fields<'_>) -> bool {
    let inner = |name: &str, names: &[&str]| object_of(call, name).is_none_or(|inner| has_only(&inner, names));
    has_only(call, &["id", "type", "index", "function", "custom", "extra_content", "cache_control"])
        && inner("function", &["name", "arguments", "parsed_arguments"])
        && inner("custom", &["name", "input"])
        && inner("extra_content", &["google"])
}

/// Reads a call; one without an id gets one from its place.
fn call<'a>(fields: &Fields<'a>, place: usize) -> Option<ToolCall<'a>> {
    let is_custom = fields.get("custom").is_some_and(|raw| raw.get() != "null");
    let mut call = match object_of(fields, "custom").filter(|_| is_custom) {
        Some(custom) => {
            ToolCall { arguments: text_of(&custom, "input").unwrap_or_default(), is_custom: true, ..function_call(&custom, place)? }
        }
        None => function_call(&object_of(fields, "function")?, place)?,
    };
    if let Some(id) = text_of(fields, "id").filter(|id| !id.is_empty()) {
        call.id = id;
    }
    call.signature = signature_of_call(fields);
    call.cache = content::cache(fields).flatten();
    Some(call)
}

/// Reads the inner object of a call.
fn function_call<'a>(function: &Fields<'a>, place: usize) -> Option<ToolCall<'a>> {
    let name = text_of(function, "name")?;
    Some(ToolCall {
        id: made_id(place, &name),
        name,
        arguments: function.get("arguments").map(arguments).unwrap_or_default(),
        is_custom: false,
        signature: None,
        cache: None,
    })
}

/// Returns the id of a call that has none.
pub fn made_id(place: usize, name: &str) -> Text<'static> {
    format!("call_{place}_{name}").into()
}

/// Returns the arguments of a call as text; some servers send them as an object.
pub fn arguments(raw: &RawValue) -> Text<'_> {
    match raw.get() {
        "null" => Text::default(),
        json => text(raw).unwrap_or(Text::Borrowed(json)),
    }
}

/// Returns Google's signature of a call.
pub fn signature_of_call<'a>(call: &Fields<'a>) -> Option<Signature<'a>> {
    let google = object_of(&object_of(call, "extra_content")?, "google")?;
    let data = text_of(&google, "thought_signature").filter(|data| !data.is_empty())?;
    Some(Signature { vendor: Vendor::Google, data })
}

/// Returns whether a media is an image of an answer, which OpenRouter's format carries.
pub fn is_image(media: &Media<'_>) -> bool {
    media.kind == MediaKind::Image && matches!(media.source, Source::Base64(_) | Source::Url(_))
}
