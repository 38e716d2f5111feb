//! A chat request: the few fields the gateway acts on, and the body for the provider.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::fields::{Edit, Fields, quoted};

/// Choices at the most that one request may ask for (OpenAI's bound).
const CHOICES_MAX: u64 = 128;
/// Characters at the most of `user`.
const USER_CHARS_MAX: usize = 256;
/// Candidates at the most in `models`.
const MODELS_MAX: usize = 16;
/// Tokens that a model's template adds besides the messages: a default system prompt, the date, the beginning of the answer. The longest
/// seen are Llama 3.1's, about 30 tokens, and ChatML spelt in bytes, 54.
const TEMPLATE_TOKENS: u64 = 64;
/// Tokens that a template puts around a message. OpenAI's takes 3, and 1 for a name; the bytes of the role are counted besides.
const MESSAGE_TOKENS: u64 = 8;
/// Fields of ours that no provider knows.
const OWN_FIELDS: [&str; 5] = ["models", "route", "provider", "plugins", "transforms"];

/// A chat request over the bytes it came as.
#[derive(Debug)]
pub struct ChatRequest<'a> {
    fields: Fields<'a>,
    /// Models to try, in order; at least one.
    pub models: Vec<String>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// The bound on completion tokens of one choice, when given.
    pub output_tokens_max: Option<u64>,
    /// Which of the two names the bound was given by.
    cap_field: Option<&'static str>,
    /// How many choices.
    pub choices: u64,
    /// The end user as the caller names it.
    pub user: Option<String>,
    /// OpenAI's processing tier.
    pub service_tier: Option<String>,
    /// Tokens that the prompt cannot exceed: its bytes, or `None` when it links to images, audio or files.
    pub prompt_tokens_max: Option<u64>,
}

/// Why a body is no chat request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not JSON, or no object.
    #[error("The request body is not a valid JSON object: {0}")]
    NotJson(String),
    /// A field stands there twice.
    #[error("The field '{0}' is given twice.")]
    Repeated(String),
    /// A field is missing or has a wrong value.
    #[error("{message}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
}

fn wrong(field: &'static str, message: impl fmt::Display) -> RequestError {
    RequestError::Field { field, message: format!("Invalid '{field}': {message}.") }
}

#[derive(Deserialize)]
struct MessageHead<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
}

impl<'a> ChatRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is no chat request; the error names the field.
    pub fn parse(body: &'a [u8]) -> Result<Self, RequestError> {
        let fields = Fields::parse(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
        if let Some(name) = fields.repeated() {
            return Err(RequestError::Repeated(name.to_owned()));
        }
        check_messages(&fields)?;
        let models = models(&fields)?;
        let (cap_field, output_tokens_max) = output_cap(&fields)?;
        let choices = number(&fields, "n", "a whole number from 1 to 128")?.unwrap_or(1);
        if !(1..=CHOICES_MAX).contains(&choices) {
            return Err(wrong("n", "it must be a whole number from 1 to 128"));
        }
        let user = text(&fields, "user")?;
        if user.as_ref().is_some_and(|user| user.chars().count() > USER_CHARS_MAX) {
            return Err(wrong("user", "it must have at most 256 characters"));
        }
        Ok(Self {
            models,
            stream: fields.read("stream").map_err(|_| wrong("stream", "it must be true or false"))?.unwrap_or(false),
            output_tokens_max,
            cap_field,
            choices,
            user,
            service_tier: text(&fields, "service_tier")?,
            prompt_tokens_max: prompt_bound(&fields),
            fields,
        })
    }

    /// The same bound where `count` tells the tokens of a text: messages that are plain text count by them, all else by its bytes.
    #[must_use]
    pub fn prompt_tokens_counted(&self, count: impl Fn(&str) -> u64) -> Option<u64> {
        let by_bytes = self.prompt_tokens_max?;
        let raw = self.fields.get("messages")?;
        let messages: Vec<Fields<'_>> = serde_json::from_str(raw.get()).ok()?;
        let counted: u64 = messages.iter().map(|message| message_tokens(message, &count)).sum();
        Some(by_bytes.saturating_sub(length(raw)).saturating_add(counted).min(by_bytes))
    }

    /// The body for a provider: its own model name, our fields left out, usage asked for, and the cap when there is one.
    #[must_use]
    pub fn upstream_body(&self, upstream_model: &str, cap: Option<u64>, cap_field: &'static str) -> Vec<u8> {
        let model = quoted(upstream_model);
        let mut edits = vec![("model", Edit::Put(&model))];
        edits.extend(OWN_FIELDS.iter().map(|name| (*name, Edit::Drop)));
        let options = self.stream.then(|| self.stream_options());
        if let Some(options) = &options {
            edits.push(("stream_options", Edit::Put(options)));
        }
        let cap = cap.map(|cap| cap.to_string());
        if let Some(cap) = &cap {
            edits.push((self.cap_field.unwrap_or(cap_field), Edit::Put(cap)));
        }
        let mut body =
            Vec::with_capacity(self.fields.0.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum::<usize>() + 128);
        self.fields.write(&edits, &mut body);
        body
    }

    /// The caller's `stream_options` with `include_usage` on.
    fn stream_options(&self) -> String {
        let mut options = Vec::new();
        match self.fields.get("stream_options").map(|raw| Fields::parse(raw.get().as_bytes())) {
            Some(Ok(fields)) => fields.write(&[("include_usage", Edit::Put("true"))], &mut options),
            Some(Err(_)) | None => options.extend_from_slice(b"{\"include_usage\":true}"),
        }
        String::from_utf8(options).unwrap_or_default()
    }
}

fn check_messages(fields: &Fields<'_>) -> Result<(), RequestError> {
    let raw = fields.get("messages").ok_or_else(|| wrong("messages", "it is required"))?;
    let messages: Vec<MessageHead<'_>> =
        serde_json::from_str(raw.get()).map_err(|_| wrong("messages", "it must be an array of objects, each with a 'role'"))?;
    if messages.is_empty() {
        return Err(wrong("messages", "it must have at least one message"));
    }
    if messages.iter().any(|message| message.role.is_none_or(|role| !role.get().starts_with('"'))) {
        return Err(wrong("messages", "each message must have a 'role'"));
    }
    Ok(())
}

fn models(fields: &Fields<'_>) -> Result<Vec<String>, RequestError> {
    let mut models: Vec<String> = text(fields, "model")?.into_iter().collect();
    let more: Option<Vec<String>> = fields.read("models").map_err(|_| wrong("models", "it must be an array of model names"))?;
    for model in more.unwrap_or_default() {
        if !models.contains(&model) {
            models.push(model);
        }
    }
    match text(fields, "route")?.as_deref() {
        None | Some("fallback") => {}
        Some(_) => return Err(wrong("route", "the only value is \"fallback\"")),
    }
    if models.is_empty() || models.iter().any(String::is_empty) {
        return Err(wrong("model", "name a model, such as \"openai/gpt-5.4\""));
    }
    if models.len() > MODELS_MAX {
        return Err(wrong("models", "it must have at most 16 models"));
    }
    Ok(models)
}

fn output_cap(fields: &Fields<'_>) -> Result<(Option<&'static str>, Option<u64>), RequestError> {
    let mut cap = (None, None);
    for field in ["max_tokens", "max_completion_tokens"] {
        let Some(tokens) = number(fields, field, "a whole number of at least 1")? else { continue };
        if tokens == 0 {
            return Err(wrong(field, "it must be a whole number of at least 1"));
        }
        cap = (Some(field), Some(tokens));
    }
    Ok(cap)
}

fn number(fields: &Fields<'_>, field: &'static str, what: &str) -> Result<Option<u64>, RequestError> {
    fields.read(field).map_err(|_| wrong(field, format_args!("it must be {what}")))
}

fn text(fields: &Fields<'_>, field: &'static str) -> Result<Option<String>, RequestError> {
    fields.read(field).map_err(|_| wrong(field, "it must be a string"))
}

/// Tokens of one message at the most: the text of its content by `count`, all else that it says by its bytes.
fn message_tokens(message: &Fields<'_>, count: &impl Fn(&str) -> u64) -> u64 {
    let text = |raw: &RawValue| serde_json::from_str::<Cow<'_, str>>(raw.get()).ok().map(|text| count(&text));
    let part = |raw: &RawValue| {
        let fields = Fields::parse(raw.get().as_bytes()).ok()?;
        let is_text = fields.0.len() == 2 && fields.get("type").is_some_and(|kind| kind.get() == "\"text\"");
        text(fields.get("text").filter(|_| is_text)?)
    };
    let parts = |raw: &RawValue| {
        let parts: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        Some(parts.into_iter().map(|raw| part(raw).unwrap_or_else(|| length(raw))).sum())
    };
    let said = message.0.iter().map(|(name, raw)| match name.as_ref() {
        "content" => text(raw).or_else(|| parts(raw)).unwrap_or_else(|| length(raw)),
        _ => length(raw),
    });
    said.sum::<u64>().saturating_add(MESSAGE_TOKENS)
}

fn length(raw: &RawValue) -> u64 {
    u64::try_from(raw.get().len()).unwrap_or(u64::MAX)
}

/// Every token stands for at least one byte, and a message as JSON is at least as long as the message in a template. What templates put
/// before the first and behind the last message comes on top.
fn prompt_bound(fields: &Fields<'_>) -> Option<u64> {
    const LINKS: [&str; 4] = ["\"image_url\"", "\"input_audio\"", "\"file\"", "\"video_url\""];
    let mut bytes = 0_u64;
    for (name, value) in &fields.0 {
        if name == "messages" && LINKS.iter().any(|link| value.get().contains(link)) {
            return None;
        }
        if matches!(name.as_ref(), "messages" | "tools" | "functions" | "response_format" | "prediction" | "tool_choice") {
            bytes = bytes.saturating_add(length(value));
        }
    }
    Some(bytes.saturating_add(TEMPLATE_TOKENS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        ChatRequest::parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_provider_gets_its_model_and_none_of_our_fields() {
        let body = br#"{"model":"a/b","models":["c/d"],"route":"fallback","messages":[{"role":"user","content":"h\u00e9"}],"stream":true,"seed":1e3,"provider":{}}"#;
        let request = ChatRequest::parse(body).unwrap();
        assert_eq!(request.models, ["a/b", "c/d"]);
        let upstream = String::from_utf8(request.upstream_body("b", Some(7), "max_tokens")).unwrap();
        assert_eq!(
            upstream,
            r#"{"model":"b","messages":[{"role":"user","content":"h\u00e9"}],"stream":true,"seed":1e3,"stream_options":{"include_usage":true},"max_tokens":7}"#
        );
    }

    #[test]
    fn the_callers_own_cap_and_options_are_kept_in_place() {
        let body = br#"{"model":"b","messages":[{"role":"user"}],"max_completion_tokens":9,"stream":true,"stream_options":{"include_usage":false,"x":1}}"#;
        let request = ChatRequest::parse(body).unwrap();
        let upstream = String::from_utf8(request.upstream_body("b", Some(5), "max_tokens")).unwrap();
        assert_eq!(
            upstream,
            r#"{"model":"b","messages":[{"role":"user"}],"max_completion_tokens":5,"stream":true,"stream_options":{"include_usage":true,"x":1}}"#
        );
    }

    #[test]
    fn bad_requests_name_the_field() {
        for (body, field) in [
            (r#"{"model":"b"}"#, "messages"),
            (r#"{"model":"b","messages":[]}"#, "messages"),
            (r#"{"model":"b","messages":["x"]}"#, "messages"),
            (r#"{"model":"b","messages":[{}]}"#, "messages"),
            (r#"{"messages":[{"role":"user"}]}"#, "model"),
            (r#"{"model":1,"messages":[{"role":"user"}]}"#, "model"),
            (r#"{"model":"b","messages":[{"role":"user"}],"max_tokens":-1}"#, "max_tokens"),
            (r#"{"model":"b","messages":[{"role":"user"}],"max_tokens":0}"#, "max_tokens"),
            (r#"{"model":"b","messages":[{"role":"user"}],"n":1000000}"#, "n"),
            (r#"{"model":"b","messages":[{"role":"user"}],"stream":"yes"}"#, "stream"),
            (r#"{"model":"b","messages":[{"role":"user"}],"route":"x"}"#, "route"),
        ] {
            assert!(message(body).contains(&format!("'{field}'")), "{body}: {}", message(body));
        }
        assert!(message("[1]").contains("JSON object"));
        assert!(message(r#"{"model":"b","model":"c","messages":[{"role":"user"}]}"#).contains("twice"));
    }

    #[test]
    fn a_linked_image_has_no_byte_bound() {
        let body = br#"{"model":"b","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}]}"#;
        assert_eq!(ChatRequest::parse(body).unwrap().prompt_tokens_max, None);
    }

    #[test]
    fn plain_text_counts_by_its_tokens_and_all_else_by_its_bytes() {
        // A tokenizer that makes one token of every text.
        let counted = |messages: &str| {
            let body = format!(r#"{{"model":"b","messages":[{messages}]}}"#);
            let request = ChatRequest::parse(body.as_bytes()).unwrap();
            (request.prompt_tokens_counted(|_| 1), request.prompt_tokens_max)
        };
        let long = "word ".repeat(50);
        let (role, frame) = (r#""user""#.len() as u64, MESSAGE_TOKENS + TEMPLATE_TOKENS);
        let text = format!(r#"{{"role":"user","content":"{long}"}}"#);
        assert_eq!(counted(&text).0, Some(frame + role + 1));
        let parts = format!(r#"{{"role":"user","content":[{{"type":"text","text":"{long}"}},{{"type":"text","text":"\u00e9{long}"}}]}}"#);
        assert_eq!(counted(&parts).0, Some(frame + role + 2));
        let refusal = format!(r#"{{"type":"refusal","refusal":"{long}"}}"#);
        let other = format!(r#"{{"role":"user","content":[{refusal}]}}"#);
        assert_eq!(counted(&other).0, Some(frame + role + refusal.len() as u64));
        let calls = format!(r#"[{{"id":"{long}"}}]"#);
        let called = format!(r#"{{"role":"user","content":null,"tool_calls":{calls}}}"#);
        assert_eq!(counted(&called).0, Some(frame + role + calls.len() as u64 + "null".len() as u64));
        let (short, by_bytes) = counted(r#"{"role":"user","content":""}"#);
        assert!(short <= by_bytes, "never more than the bytes");
        assert_eq!(counted(r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y.png"}}]}"#).0, None);
    }
}
