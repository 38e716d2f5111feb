//! OpenAI's embeddings. Their answers are never streamed and have no output tokens.

use std::borrow::Cow;

use events::usage::Tokens;
use serde_json::value::RawValue;

use crate::answer::{Answer, AnswerError, Billed, Delta, Names};
use crate::call::{Head, RequestError, Target};
use crate::chat;
use crate::fields::{Edit, Fields, quoted};
use crate::routing::Routing;
use crate::usage::Usage;

/// The maximum length of a text with which a field is a setting, in bytes.
const INPUT: &str = "input";
/// Tokens that a provider may add to each text.
const TEXT_TOKENS: u64 = 8;

/// The body of a request over the bytes that it arrived as.
#[derive(Debug)]
pub struct Body<'a>(Fields<'a>);

fn wrong(field: &'static str, message: &str) -> RequestError {
    RequestError::Field { field, message: format!("Invalid '{field}': {message}.") }
}

/// Reads a body and its head.
///
/// # Errors
/// Fails if the body is not a request for embeddings; the error names the field.
pub fn read(body: &[u8]) -> Result<(Head, Body<'_>), RequestError> {
    let fields = Fields::parse(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
    if let Some(name) = fields.repeated() {
        return Err(RequestError::Repeated(name.to_owned()));
    }
    let model = chat::request::models(&fields)?;
    let input = fields.get(INPUT).ok_or_else(|| wrong(INPUT, "it is required"))?;
    let texts = texts(input).ok_or_else(|| wrong(INPUT, "it must be a text, an array of texts, or arrays of token ids"))?;
    let user = chat::request::user(&fields)?;
    // Every token stands for at least one byte, and a token id takes at least two.
    let bytes = u64::try_from(input.get().len()).unwrap_or(u64::MAX);
    let head = Head {
        models: model,
        stream: false,
        output_tokens_max: Some(0),
        choices: 1,
        user,
        service_tier: None,
        prompt_tokens_max: Some(bytes.saturating_add(texts.saturating_mul(TEXT_TOKENS))),
        images: 0,
        has_reasoning_object: false,
        has_tools: false,
        prompt_text_bytes: bytes,
        routing: Routing::read(&fields)?,
    };
    Ok((head, Body(fields)))
}

/// Returns the number of texts; `None` if the value is no input.
fn texts(input: &RawValue) -> Option<u64> {
    match input.get().as_bytes().first()? {
        b'"' => Some(1),
        b'[' => {
            let all: Vec<&RawValue> = serde_json::from_str(input.get()).ok()?;
            let is_text = |raw: &&RawValue| matches!(raw.get().as_bytes().first(), Some(b'"' | b'[' | b'0'..=b'9'));
            (!all.is_empty() && all.iter().all(is_text)).then(|| u64::try_from(all.len()).unwrap_or(u64::MAX))
        }
        _ => None,
    }
}

impl<'a> Body<'a> {
    /// Returns the members of the body.
    #[must_use]
    pub(crate) const fn fields(&self) -> &Fields<'a> {
        &self.0
    }

    /// Returns the prompt's bound with its texts counted by `count`; `None` if the input is not text.
    #[must_use]
    pub fn prompt_tokens_counted(&self, by_bytes: u64, count: impl Fn(&str) -> u64) -> Option<u64> {
        let input = self.0.get(INPUT)?.get();
        let texts: Vec<Cow<'_, str>> = serde_json::from_str(input).or_else(|_| serde_json::from_str(input).map(|text| vec![text])).ok()?;
        let counted = texts.iter().map(|text| count(text).saturating_add(TEXT_TOKENS)).fold(0_u64, u64::saturating_add);
        Some(counted.min(by_bytes))
    }

    /// Returns the body for a provider, with its model name and without the gateway's own fields.
    #[must_use]
    pub fn upstream_body(&self, target: &Target<'_>) -> Vec<u8> {
        let model = quoted(target.model);
        let mut edits = vec![("model", Edit::Put(&model))];
        edits.extend(chat::request::OWN_FIELDS.iter().map(|name| (*name, Edit::Drop)));
        let mut body = Vec::with_capacity(self.0.0.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum());
        self.0.write(&edits, &mut body);
        body
    }
}

/// Reads an answer.
///
/// # Errors
/// Fails if the body reports an error, or has no embeddings.
pub fn read_answer(body: &[u8]) -> Result<Answer, AnswerError> {
    let fields = Fields::parse(body).map_err(|_| AnswerError::Malformed)?;
    if let Some(error) = chat::response::reported(&fields, body) {
        return Err(error);
    }
    if !fields.get("data").is_some_and(|data| data.get().starts_with('[')) {
        return Err(AnswerError::Malformed);
    }
    // The output has no tokens, whatever the total says.
    let prompt = fields.get("usage").and_then(|usage| Fields::parse(usage.get().as_bytes()).ok()?.read("prompt_tokens").ok()?);
    let usage = prompt.map(|input| Usage::complete(Tokens { input, ..Tokens::ZERO }));
    Ok(Answer { usage, service_tier: None, delta: Delta { text_bytes: 1, finish_reason: Some("stop".to_owned()) } })
}

/// Returns the answer for the client, with the gateway's model name and usage.
///
/// # Errors
/// Fails if the answer is not a JSON object.
pub fn client_body(answer: &[u8], names: &Names<'_>, billed: &Billed) -> Result<Vec<u8>, AnswerError> {
    let fields = Fields::parse(answer).map_err(|_| AnswerError::Malformed)?;
    let usage = chat::usage::UsageBody::new(billed).over(fields.get("usage"));
    let mut body = Vec::with_capacity(answer.len() + usage.len());
    fields.write(&[("model", Edit::Put(names.model_json)), ("usage", Edit::Put(&usage))], &mut body);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn inputs_are_bounded_by_their_bytes() {
        let of = |input: &str| read(format!(r#"{{"model":"m","input":{input}}}"#).as_bytes()).map(|(head, _)| head.prompt_tokens_max);
        assert_eq!(of(r#""four""#).unwrap(), Some(6 + 8));
        assert_eq!(of(r#"["a","b"]"#).unwrap(), Some(9 + 16));
        assert_eq!(of("[[1,2]]").unwrap(), Some(7 + 8));
        for bad in ["null", "7", "{}", "[]", "[null]"] {
            assert!(of(bad).unwrap_err().to_string().contains("'input'"), "{bad}");
        }
    }

    #[test]
    fn answers_get_the_charge() {
        let body = br#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1]}],"model":"x","usage":{"prompt_tokens":4,"total_tokens":4}}"#;
        assert_eq!(read_answer(body).unwrap().usage.unwrap().tokens.input, 4);
        let text = String::from_utf8(client_body(body, &testing::NAMES, &testing::billed()).unwrap()).unwrap();
        assert!(text.contains(r#""embedding":[0.1]"#) && text.contains(r#""model":"a/m","usage":{"prompt_tokens":5"#), "{text}");
        assert_eq!(read_answer(b"{}").err(), Some(AnswerError::Malformed));
    }
}
