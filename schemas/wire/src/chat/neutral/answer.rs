//! Whole answers of Chat, both ways.

use serde::Serialize;
use serde_json::value::RawValue;

use super::bodies::{AnnotationBody, CallBody, ExtraBody, characters};
use super::content::ImageBody;
use super::message::{assistant, is_image};
use super::raw::{array, object, object_of, text, text_of};
use super::reasoning::{DetailPiece, details, visible_text};
use crate::answer::{AnswerError, Billed, Names};
use crate::chat::response::reported;
use crate::chat::usage::UsageBody;
use crate::fields::Fields;
use crate::neutral::{Answer, Choice, Finish, Json, Part, Reason, Text};

/// Reads a whole answer.
///
/// # Errors
/// Fails if the body reports an error, or is not a chat completion.
pub fn read(body: &[u8]) -> Result<Answer<'_>, AnswerError> {
    let fields = Fields::parse(body).map_err(|_| AnswerError::Malformed)?;
    if let Some(error) = reported(&fields, body) {
        return Err(error);
    }
    let raw = fields.get("choices").and_then(array).ok_or(AnswerError::Malformed)?;
    let mut choices = raw.into_iter().map(choice).collect::<Option<Vec<_>>>().ok_or(AnswerError::Malformed)?;
    choices.sort_by_key(|(index, _)| *index);
    Ok(Answer {
        id: text_of(&fields, "id").filter(|id| !id.is_empty()),
        model: text_of(&fields, "model").filter(|model| !model.is_empty()),
        created_s: fields.read("created").ok().flatten(),
        choices: choices.into_iter().map(|(_, choice)| choice).collect(),
    })
}

/// Reads a choice and its number.
fn choice(raw: &RawValue) -> Option<(u64, Choice<'_>)> {
    let choice = object(raw)?;
    let parts = match object_of(&choice, "message").or_else(|| object_of(&choice, "delta")) {
        Some(message) => assistant(&message, false)?,
        None => text_of(&choice, "text").map(Part::text).into_iter().collect(),
    };
    let has_calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let finish = finish(&choice, has_calls);
    let logprobs = object_of(&choice, "logprobs").and_then(|logprobs| logprobs.get("content"));
    let logprobs = logprobs.filter(|content| content.get().starts_with('[')).map(Json::from);
    Some((choice.read("index").ok().flatten().unwrap_or(0), Choice { parts, finish, logprobs }))
}

/// Reads the end of a choice or of a piece of one.
pub fn finish<'a>(choice: &Fields<'a>, has_calls: bool) -> Finish<'a> {
    let word = text_of(choice, "finish_reason").filter(|word| !word.is_empty());
    let error = choice.get("error").and_then(|raw| text(raw).or_else(|| text_of(&object(raw)?, "message")));
    let native = text_of(choice, "native_finish_reason").filter(|word| !word.is_empty());
    Finish { reason: finish_reason(word.as_deref(), has_calls), native: native.or(word), stop_sequence: None, message: error }
}

/// Returns the meaning of a finish reason. OpenAI says `stop` when a call was demanded; an unknown word counts as a stop.
pub fn finish_reason(word: Option<&str>, has_calls: bool) -> Reason {
    match word {
        Some("length" | "model_length" | "max_tokens") => Reason::Length,
        Some("content_filter") => Reason::Filtered,
        Some("error") => Reason::Broken,
        Some("tool_calls" | "function_call") => Reason::ToolCalls,
        Some(_) | None if has_calls => Reason::ToolCalls,
        Some(_) | None => Reason::Stop,
    }
}

/// Returns Chat's word for the end of an answer.
pub const fn finish_word(reason: Reason) -> &'static str {
    match reason {
        Reason::Stop | Reason::StopSequence | Reason::Paused => "stop",
        Reason::Length => "length",
        Reason::ToolCalls => "tool_calls",
        Reason::Filtered => "content_filter",
        Reason::Broken => "error",
    }
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: Vec<ChoiceBody<'a>>,
    usage: UsageBody,
}

#[derive(Debug, Serialize)]
struct ChoiceBody<'a> {
    index: usize,
    message: MessageBody<'a>,
    logprobs: Option<LogprobsBody<'a>>,
    finish_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_finish_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

/// The error of a choice that broke off, as OpenRouter writes it.
#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    code: u16,
    message: &'a str,
}

#[derive(Debug, Serialize)]
struct LogprobsBody<'a> {
    content: &'a Json<'a>,
    refusal: Option<()>,
}

#[derive(Debug, Default, Serialize)]
struct MessageBody<'a> {
    role: &'static str,
    content: Option<Text<'a>>,
    refusal: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<DetailPiece<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<AnnotationBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<ImagePiece<'a>>,
}

/// An image of an answer, as OpenRouter writes it.
#[derive(Debug, Serialize)]
struct ImagePiece<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    image_url: ImageBody<'a>,
    index: usize,
}

/// Writes a whole answer.
pub fn write(answer: &Answer<'_>, names: &Names<'_>, billed: &Billed) -> Vec<u8> {
    let body = Body {
        id: names.id,
        object: "chat.completion",
        created: names.created_s,
        model: names.model,
        choices: answer.choices.iter().enumerate().map(|(index, choice)| choice_body(index, choice)).collect(),
        usage: UsageBody::new(billed),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

fn choice_body<'a>(index: usize, choice: &'a Choice<'_>) -> ChoiceBody<'a> {
    let Choice { parts, finish, logprobs } = choice;
    let mut message = message(parts);
    if finish.reason == Reason::Filtered && message.refusal.is_none() {
        message.refusal = finish.message.as_deref().map(Text::Borrowed);
    }
    let error = finish.message.as_deref().filter(|_| finish.reason == Reason::Broken);
    ChoiceBody {
        index,
        message,
        logprobs: logprobs.as_ref().map(|content| LogprobsBody { content, refusal: None }),
        finish_reason: finish_word(finish.reason),
        native_finish_reason: finish.native.as_deref(),
        error: error.map(|message| ErrorBody { code: 502, message }),
    }
}

/// Writes the parts of an answer. Parts that only another vendor knows are left out, since an answer cannot be refused.
fn message<'a>(parts: &'a [Part<'_>]) -> MessageBody<'a> {
    let mut message = MessageBody { role: "assistant", ..MessageBody::default() };
    let mut written = 0_u64;
    for part in parts {
        match part {
            Part::Text { text, citations, .. } => {
                let range = (written, written.saturating_add(characters(text)));
                message.annotations.extend(citations.iter().filter_map(|citation| AnnotationBody::of(citation, range)));
                written = range.1;
                append(&mut message.content, text);
            }
            Part::Refusal(text) => append(&mut message.refusal, text),
            Part::Media(media) if is_image(media) => {
                let index = message.images.len();
                let image = ImageBody::of(media).map(|image_url| ImagePiece { kind: "image_url", image_url, index });
                message.images.extend(image);
            }
            Part::ToolCall(call) => {
                let extra_content = call.signature.as_ref().and_then(ExtraBody::of);
                message.tool_calls.push(CallBody { extra_content, ..CallBody::whole(call, Text::Borrowed(&call.id)) });
            }
            Part::Media(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => {}
        }
    }
    if message.content.is_none() && message.tool_calls.is_empty() && message.refusal.is_none() {
        message.content = Some(Text::default());
    }
    message.content = message.content.filter(|text| !text.is_empty() || message.tool_calls.is_empty());
    message.reasoning = visible_text(parts);
    message.reasoning_content.clone_from(&message.reasoning);
    message.reasoning_details = details(parts, Text::Borrowed);
    message
}

/// Appends a text, which is borrowed while it is alone.
fn append<'a>(all: &mut Option<Text<'a>>, text: &'a Text<'_>) {
    match all {
        None => *all = Some(Text::Borrowed(text)),
        Some(all) => all.to_mut().push_str(text),
    }
}
