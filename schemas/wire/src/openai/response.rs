//! A provider's answer, whole or in frames: what the gateway reads of it and what it replaces.

use events::usage::Tokens;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage;
use crate::fields::{Edit, Fields};

/// A whole answer over the bytes it came as.
#[derive(Debug)]
pub struct ChatResponse<'a> {
    fields: Fields<'a>,
    /// What the provider counted, when it says.
    pub usage: Option<Tokens>,
    /// The tier it was served in.
    pub service_tier: Option<String>,
    /// What the choices say.
    pub said: Said,
}

/// What the choices of an answer or frame hold, for metering.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Bytes of content, reasoning and tool arguments, over all choices.
    pub text_bytes: u64,
    /// The first choice's finish reason.
    pub finish_reason: Option<String>,
}

/// The answer is not a chat completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the provider's answer is not a chat completion")]
pub struct NotACompletion;

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    message: Option<Part<'a>>,
    #[serde(borrow, default)]
    delta: Option<Part<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
}

impl Part<'_> {
    fn text_bytes(&self) -> u64 {
        let said = [self.content, self.reasoning.or(self.reasoning_content), self.refusal, self.tool_calls, self.function_call];
        said.into_iter().flatten().map(|raw| text_bytes(raw.get())).sum()
    }
}

/// Bytes of a raw value without the quotes of a string; null is nothing.
fn text_bytes(raw: &str) -> u64 {
    let bytes = match raw {
        "null" => 0,
        text if text.starts_with('"') => text.len().saturating_sub(2),
        other => other.len(),
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn said(fields: &Fields<'_>) -> Result<Said, NotACompletion> {
    let raw = fields.get("choices").ok_or(NotACompletion)?;
    let choices: Vec<Choice<'_>> = serde_json::from_str(raw.get()).map_err(|_| NotACompletion)?;
    let parts = choices.iter().filter_map(|choice| choice.message.as_ref().or(choice.delta.as_ref()));
    Ok(Said {
        text_bytes: parts.map(Part::text_bytes).sum(),
        finish_reason: choices.iter().find_map(|choice| choice.finish_reason.clone()),
    })
}

impl<'a> ChatResponse<'a> {
    /// Reads a whole answer.
    ///
    /// # Errors
    /// When it is HTML, half a JSON or anything else but a chat completion.
    pub fn parse(body: &'a [u8]) -> Result<Self, NotACompletion> {
        let fields = Fields::parse(body).map_err(|_| NotACompletion)?;
        let said = said(&fields)?;
        let usage = fields.get("usage").and_then(usage::read);
        let service_tier = fields.read("service_tier").ok().flatten();
        Ok(Self { fields, usage, service_tier, said })
    }

    /// The body for the client: our id, our model name and our usage; everything else as it came.
    #[must_use]
    pub fn client_body(&self, id: &str, model: &str, usage: &str) -> Vec<u8> {
        let mut body = Vec::with_capacity(
            self.fields.0.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum::<usize>() + usage.len() + 128,
        );
        self.fields.write(&[("id", Edit::Put(id)), ("model", Edit::Put(model)), ("usage", Edit::Put(usage))], &mut body);
        body
    }
}

/// One frame of a streamed answer.
#[derive(Debug)]
pub enum Frame<'a> {
    /// The end: `[DONE]`.
    Done,
    /// A piece of the answer.
    Chunk(Chunk<'a>),
    /// The provider's error instead of a piece.
    Error(String),
}

/// A piece of the answer over the bytes it came as.
#[derive(Debug)]
pub struct Chunk<'a> {
    fields: Fields<'a>,
    /// What the provider counted so far, when it says.
    pub usage: Option<Tokens>,
    /// The tier it is served in.
    pub service_tier: Option<String>,
    /// What the choices say.
    pub said: Said,
    /// Whether there are choices; the frame with the usage alone has none.
    pub has_choices: bool,
}

#[derive(Deserialize)]
struct ErrorBody {
    message: Option<String>,
}

impl<'a> Frame<'a> {
    /// Reads the data of an SSE frame.
    ///
    /// # Errors
    /// When it is neither a chunk nor an error.
    pub fn parse(data: &'a [u8]) -> Result<Self, NotACompletion> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(Self::Done);
        }
        let fields = Fields::parse(data).map_err(|_| NotACompletion)?;
        if let Some(error) = fields.get("error").filter(|raw| raw.get() != "null") {
            let message = serde_json::from_str::<ErrorBody>(error.get()).ok().and_then(|body| body.message);
            return Ok(Self::Error(message.unwrap_or_else(|| "the provider reported an error".to_owned())));
        }
        let said = said(&fields)?;
        let usage = fields.get("usage").and_then(usage::read);
        let has_choices = fields.get("choices").is_some_and(|raw| raw.get().bytes().any(|byte| byte == b'{'));
        let service_tier = if usage.is_some() { fields.read("service_tier").ok().flatten() } else { None };
        Ok(Self::Chunk(Chunk { fields, usage, service_tier, said, has_choices }))
    }
}

impl Chunk<'_> {
    /// The frame for the client: our id and model name, no usage (it comes once, at the end); everything else as it came.
    pub fn write(&self, id: &str, model: &str, into: &mut Vec<u8>) {
        into.extend_from_slice(b"data: ");
        self.fields.write(&[("id", Edit::Put(id)), ("model", Edit::Put(model)), ("usage", Edit::Drop)], into);
        into.extend_from_slice(b"\n\n");
    }
}

/// What ends a stream besides the provider's own pieces.
#[derive(Debug)]
pub struct Ending<'a> {
    /// Our id as a JSON string.
    pub id: &'a str,
    /// Our model name as a JSON string.
    pub model: &'a str,
    /// Seconds since 1970.
    pub created_s: i64,
}

impl Ending<'_> {
    /// A last piece that gives a reason: `length` for a stream cut at its hold.
    pub fn reason(&self, reason: &str, into: &mut Vec<u8>) {
        self.chunk(&format!("\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]"), into);
    }

    /// A piece that carries an error, after which nothing more comes. `error` is JSON.
    pub fn error(&self, error: &str, into: &mut Vec<u8>) {
        self.chunk(
            &format!("\"error\":{error},\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"\"}},\"finish_reason\":\"error\"}}]"),
            into,
        );
    }

    /// The usage, in a piece without choices. `usage` is JSON.
    pub fn usage(&self, usage: &str, into: &mut Vec<u8>) {
        self.chunk(&format!("\"choices\":[],\"usage\":{usage}"), into);
    }

    /// `[DONE]`.
    pub fn done(into: &mut Vec<u8>) {
        into.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn chunk(&self, rest: &str, into: &mut Vec<u8>) {
        let Self { id, model, created_s } = self;
        let text =
            format!("data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created_s},\"model\":{model},{rest}}}\n\n");
        into.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_foreign_fields_and_gets_ours() {
        let body = br#"{"id":"chatcmpl-1","object":"chat.completion","model":"m-2026","choices":[{"index":0,"message":{"role":"assistant","content":"hey"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1},"x_groq":{"id":"r"}}"#;
        let response = ChatResponse::parse(body).unwrap();
        assert_eq!(response.said, Said { text_bytes: 3, finish_reason: Some("stop".into()) });
        assert_eq!(response.usage.unwrap().input, 3);
        let text = String::from_utf8(response.client_body("\"gen-1\"", "\"a/m\"", "{}")).unwrap();
        assert!(
            text.starts_with(r#"{"id":"gen-1","object":"chat.completion","model":"a/m","choices":"#)
                && text.ends_with(r#""usage":{},"x_groq":{"id":"r"}}"#)
        );
    }

    #[test]
    fn html_half_a_json_and_errors_are_no_completion() {
        for body in [&b"<html>"[..], b"{\"choices\":[", b"{}", b"{\"choices\":{}}"] {
            assert!(ChatResponse::parse(body).is_err());
        }
    }

    #[test]
    fn frames_are_told_apart() {
        assert!(matches!(Frame::parse(b"[DONE]"), Ok(Frame::Done)));
        assert!(matches!(Frame::parse(br#"{"error":{"message":"overloaded"}}"#), Ok(Frame::Error(message)) if message == "overloaded"));
        assert!(Frame::parse(b"<html>").is_err());
        let Ok(Frame::Chunk(chunk)) = Frame::parse(br#"{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#) else {
            unreachable!("a chunk");
        };
        assert!(!chunk.has_choices && chunk.usage.is_some());
    }
}
