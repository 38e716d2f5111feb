//! OpenAI's embeddings. Source: OpenAI's API reference.

use std::borrow::Cow;

use events::usage::Tokens;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Request, TEXT_TOKENS, Vector};
use crate::answer::{Answer, AnswerError, Billed, Delta, Names};
use crate::call::{Head, RequestError, Target};
use crate::chat;
use crate::fields::{Edit, Fields, each, quoted, text};
use crate::generate::base64;
use crate::neutral::{Json, Text, Untranslatable};
use crate::routing::Routing;
use crate::usage::Usage;

const INPUT: &str = "input";
/// The bytes of a text that stand for one token, if the caller sends the ids of tokens.
const TOKEN_BYTES: u64 = 4;
/// The bytes of a number in a vector that is written in base64.
const NUMBER_BYTES: usize = 4;
/// Fields whose meaning is known; every other one is refused on the way to another format. The provider's own records have the user.
const KNOWN: [&str; 5] = ["model", INPUT, "dimensions", "encoding_format", "user"];

/// The body of a request over the bytes that it arrived as.
#[derive(Debug)]
pub struct Body<'a>(Fields<'a>);

/// The size of the input.
#[derive(Debug, Default)]
struct Size {
    texts: u64,
    /// The bytes of the texts themselves.
    text_bytes: u64,
}

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
    let size = size(input).ok_or_else(|| wrong(INPUT, "it must be a text, an array of texts, or arrays of token ids"))?;
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
        prompt_tokens_max: Some(bytes.saturating_add(size.texts.saturating_mul(TEXT_TOKENS))),
        images: 0,
        has_reasoning_object: false,
        has_base64_vectors: fields.get("encoding_format").is_some_and(|raw| raw.get() == "\"base64\""),
        has_tools: false,
        prompt_text_bytes: size.text_bytes,
        routing: Routing::read(&fields)?,
    };
    Ok((head, Body(fields)))
}

/// Returns the size of an input; `None` if the value is no input.
fn size(input: &RawValue) -> Option<Size> {
    let mut size = Size::default();
    let mut is_valid = true;
    let mut add = |raw: &RawValue| match bytes(raw) {
        Some(bytes) => {
            size.texts = size.texts.saturating_add(1);
            size.text_bytes = size.text_bytes.saturating_add(bytes);
        }
        None => is_valid = false,
    };
    if input.get().starts_with('"') {
        add(input);
    } else {
        each(input, add).ok()?;
    }
    Some(size).filter(|size| is_valid && size.texts > 0)
}

/// Returns the bytes of a text, or of the texts behind token ids; `None` if the value is neither.
fn bytes(raw: &RawValue) -> Option<u64> {
    match raw.get().as_bytes().first()? {
        b'"' => u64::try_from(text(raw)?.len()).ok(),
        b'0'..=b'9' => Some(TOKEN_BYTES),
        b'[' => {
            let mut tokens = 0_u64;
            each(raw, |_: IgnoredAny| tokens = tokens.saturating_add(1)).ok()?;
            Some(tokens.saturating_mul(TOKEN_BYTES))
        }
        _ => None,
    }
}

impl<'a> Body<'a> {
    /// Returns the members of the body.
    pub const fn fields(&self) -> &Fields<'a> {
        &self.0
    }

    /// Returns the texts; `None` if the input is token ids.
    pub fn texts(&self) -> Option<Vec<Text<'a>>> {
        let input = self.0.get(INPUT)?;
        if input.get().starts_with('"') {
            return Some(vec![text(input)?]);
        }
        let all: Vec<&RawValue> = serde_json::from_str(input.get()).ok()?;
        all.into_iter().map(text).collect()
    }

    /// Returns the request as other formats can say it.
    ///
    /// # Errors
    /// Fails if they cannot; the error names the field.
    pub fn request(&self) -> Result<Request<'a>, RequestError> {
        let unknown = self.0.0.iter().map(|(name, _)| name.as_ref());
        let unknown = unknown.into_iter().find(|name| !KNOWN.contains(name) && !chat::request::OWN_FIELDS.contains(name));
        if let Some(name) = unknown {
            return Err(Untranslatable::new(name.to_owned(), "its API has no such field; leave it out").into());
        }
        let texts = self.texts().ok_or_else(|| Untranslatable::new(INPUT, "it embeds texts, not the ids of tokens; send the text"))?;
        let dimensions: Option<u64> = self.0.read("dimensions").map_err(|_| wrong("dimensions", "it must be a whole number"))?;
        Ok(Request { texts, dimensions })
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

/// Returns the body for a provider, with its model name.
pub fn write(request: &Request<'_>, target: &Target<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct RequestBody<'r> {
        model: &'r str,
        input: &'r [Text<'r>],
        #[serde(skip_serializing_if = "Option::is_none")]
        dimensions: Option<u64>,
    }
    let body = RequestBody { model: target.model, input: &request.texts, dimensions: request.dimensions };
    serde_json::to_vec(&body).unwrap_or_default()
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

/// One vector of an answer.
#[derive(Debug, Deserialize)]
struct VectorBody<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    embedding: &'a RawValue,
}

/// Returns the vectors of an answer in the order of their texts.
///
/// # Errors
/// Fails if the body is not an answer.
pub fn vectors(answer: &[u8]) -> Result<Vec<Vector<'_>>, AnswerError> {
    let fields = Fields::parse(answer).map_err(|_| AnswerError::Malformed)?;
    let data = fields.get("data").ok_or(AnswerError::Malformed)?;
    let mut all: Vec<VectorBody<'_>> = serde_json::from_str(data.get()).map_err(|_| AnswerError::Malformed)?;
    all.sort_by_key(|vector| vector.index);
    all.into_iter().map(|vector| as_array(vector.embedding)).collect()
}

/// Returns a vector as an array. Some servers write base64 to everybody.
fn as_array(raw: &RawValue) -> Result<Vector<'_>, AnswerError> {
    if raw.get().starts_with('[') {
        return Ok(raw.into());
    }
    let bytes = text(raw).and_then(|text| base64::decode(&text)).ok_or(AnswerError::Malformed)?;
    let numbers = bytes.as_chunks::<NUMBER_BYTES>().0.iter().map(|number| f32::from_le_bytes(*number));
    Ok(Json::of(&numbers.collect::<Vec<_>>()))
}

/// Returns a vector as the bytes of its numbers in base64, lowest byte first.
fn as_base64(vector: &Vector<'_>) -> Result<Vector<'static>, AnswerError> {
    let numbers: Vec<f32> = vector.read().ok_or(AnswerError::Malformed)?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Ok(Json::of(&base64::encode(&bytes)))
}

/// Writes an answer with vectors of another format.
///
/// # Errors
/// Fails if a vector is not an array of numbers.
pub fn write_answer(vectors: &[Vector<'_>], is_base64: bool, names: &Names<'_>, billed: &Billed) -> Result<Vec<u8>, AnswerError> {
    #[derive(Serialize)]
    struct AnswerBody<'v> {
        object: &'static str,
        data: Vec<DataBody<'v>>,
        model: &'v str,
        usage: chat::usage::UsageBody,
    }
    #[derive(Serialize)]
    struct DataBody<'v> {
        object: &'static str,
        index: usize,
        embedding: Cow<'v, Vector<'v>>,
    }
    let written = |(index, vector)| {
        let embedding = if is_base64 { Cow::Owned(as_base64(vector)?) } else { Cow::Borrowed(vector) };
        Ok(DataBody { object: "embedding", index, embedding })
    };
    let data = vectors.iter().enumerate().map(written).collect::<Result<_, AnswerError>>()?;
    let body = AnswerBody { object: "list", data, model: names.model, usage: chat::usage::UsageBody::new(billed) };
    serde_json::to_vec(&body).map_err(|_| AnswerError::Malformed)
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
    fn estimates_are_of_the_texts_alone() {
        let of = |input: &str| read(format!(r#"{{"model":"m","input":{input}}}"#).as_bytes()).unwrap().0.prompt_text_bytes;
        assert_eq!(of(r#""four""#), 4);
        assert_eq!(of(r#"["a\u00e9","\n"]"#), 3 + 1);
        assert_eq!((of("[1,2,3]"), of("[[1,2],[3]]")), (12, 12), "three tokens");
    }

    #[test]
    fn vectors_are_sorted_and_may_be_base64() {
        let body = br#"{"data":[{"index":1,"embedding":"AACAPwAAAMA="},{"index":0,"embedding":[0.5, 1e-3]}]}"#;
        let vectors = vectors(body).unwrap();
        assert_eq!(vectors.iter().map(Json::get).collect::<Vec<_>>(), ["[0.5, 1e-3]", "[1.0,-2.0]"]);
        assert_eq!(as_base64(&vectors[1]).unwrap().get(), "\"AACAPwAAAMA=\"");
        assert!(as_base64(&Json::parse("[null]").unwrap()).is_err());
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
