//! A request of Anthropic's format: the few fields that the gateway acts on, and the body for a provider of the same format.

use std::fmt;

use serde::Deserialize;

use super::settings::BUDGET_MIN;
use super::{prompt, read, write};
use crate::call::{Head, RequestError, Target};
use crate::chat::request::{OWN_FIELDS, models};
use crate::fields::{Edit, Fields, quoted};
use crate::neutral::{Request, Untranslatable};
use crate::routing::Routing;

/// The maximum length of `metadata.user_id` in characters.
const USER_CHARS_MAX: usize = 256;

/// Fields that may be dropped on the way to another format, each with the reason.
pub const HARMLESS: &[(&str, &str)] = &[
    ("cache_control", "caching changes the price and the speed, not the answer"),
    ("context_management", "it has the vendor cut old turns; other providers read them all"),
    ("metadata", "labels for the vendor's records; the id of the user is kept"),
    ("diagnostics", "an explanation of cache misses, which are the vendor's own"),
    ("thinking", "its level and display are kept"),
    ("output_config", "its effort and format are kept"),
    ("tools.eager_input_streaming", "it changes only the size of the pieces of a stream"),
];

/// The body over the bytes that it arrived as.
#[derive(Debug)]
pub struct Body<'a>(Fields<'a>);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    user_id: Option<String>,
}

pub(super) fn wrong(field: &'static str, message: impl fmt::Display) -> RequestError {
    RequestError::Field { field, message: format!("Invalid '{field}': {message}.") }
}

/// Reads a body and its head.
///
/// # Errors
/// Fails if the body is not a request of this format; the error names the field.
pub fn read(body: &[u8]) -> Result<(Head, Body<'_>), RequestError> {
    let (head, body) = read_without_cap(body)?;
    match head.output_tokens_max {
        Some(_) => Ok((head, body)),
        None => Err(wrong("max_tokens", "it is required")),
    }
}

/// Reads a body that need not have a bound on the completion, which a request to count tokens lacks.
///
/// # Errors
/// Fails if the body is not a request of this format; the error names the field.
pub fn read_without_cap(body: &[u8]) -> Result<(Head, Body<'_>), RequestError> {
    let fields = Fields::parse(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
    if let Some(name) = fields.repeated() {
        return Err(RequestError::Repeated(name.to_owned()));
    }
    let prompt = prompt::measure(&fields)?;
    let head = Head {
        models: models(&fields)?,
        stream: fields.read("stream").map_err(|_| wrong("stream", "it must be true or false"))?.unwrap_or(false),
        // 0 is a valid bound: it only warms the vendor's cache.
        output_tokens_max: fields.read("max_tokens").map_err(|_| wrong("max_tokens", "it must be a whole number"))?,
        choices: 1,
        user: user(&fields)?,
        service_tier: service_tier(&fields)?,
        prompt_tokens_max: prompt.tokens_max,
        images: prompt.images,
        has_reasoning_object: false,
        has_base64_vectors: false,
        has_tools: fields.get("tools").is_some_and(|tools| !matches!(tools.get(), "null" | "[]")),
        prompt_text_bytes: prompt.text_bytes,
        routing: Routing::read(&fields)?,
    };
    Ok((head, Body(fields)))
}

/// Returns the end user as the caller names it.
pub(super) fn user(fields: &Fields<'_>) -> Result<Option<String>, RequestError> {
    let field = "metadata.user_id";
    let metadata: Option<Metadata> =
        fields.read("metadata").map_err(|_| wrong(field, "'metadata' must be an object, and 'user_id' a string"))?;
    let user = metadata.and_then(|metadata| metadata.user_id);
    if user.as_ref().is_some_and(|user| user.chars().count() > USER_CHARS_MAX || user.chars().any(char::is_control)) {
        return Err(wrong(field, "it must have at most 256 characters, and no control characters"));
    }
    Ok(user)
}

/// Returns the tier in OpenAI's words.
pub(super) fn service_tier(fields: &Fields<'_>) -> Result<Option<String>, RequestError> {
    let tier: Option<String> = fields.read("service_tier").map_err(|_| wrong("service_tier", "it must be a string"))?;
    Ok(tier.map(|tier| if tier == "standard_only" { "default".to_owned() } else { tier }))
}

impl<'a> Body<'a> {
    /// Returns the members of the body.
    #[must_use]
    pub(crate) const fn fields(&self) -> &Fields<'a> {
        &self.0
    }

    /// Returns the prompt's bound, which is at most `by_bytes`. `count` counts the plain text of messages; everything else counts by its
    /// bytes.
    #[must_use]
    pub fn prompt_tokens_counted(&self, by_bytes: u64, count: impl Fn(&str) -> u64) -> Option<u64> {
        prompt::counted(&self.0, by_bytes, count)
    }

    /// Returns the body for a provider of the same format: the caller's, with the provider's name of the model and the cap, and without the
    /// gateway's own fields.
    #[must_use]
    pub fn upstream_body(&self, target: &Target<'_>) -> Vec<u8> {
        let model = quoted(target.model);
        let cap = target.cap.map(|cap| cap.to_string());
        let mut edits = vec![("model", Edit::Put(&model))];
        edits.extend(OWN_FIELDS.iter().map(|name| (*name, Edit::Drop)));
        edits.extend(cap.as_deref().map(|cap| ("max_tokens", Edit::Put(cap))));
        let thinking = target.cap.and_then(|cap| self.thinking_below(cap));
        edits.extend(thinking.as_deref().map(|thinking| ("thinking", Edit::Put(thinking))));
        let mut body = Vec::with_capacity(self.0.0.iter().map(|(name, raw)| name.len() + raw.get().len() + 4).sum::<usize>() + 128);
        self.0.write(&edits, &mut body);
        body
    }

    /// Returns the setting of thinking with a budget below a bound on the completion, as Anthropic demands; `None` if it is below already.
    /// A bound that leaves too little for the least budget switches thinking off.
    fn thinking_below(&self, cap: u64) -> Option<String> {
        let thinking = Fields::parse(self.0.get("thinking")?.get().as_bytes()).ok()?;
        let budget: u64 = thinking.read("budget_tokens").ok().flatten()?;
        if budget < cap {
            return None;
        }
        let most = cap.saturating_sub(1);
        if most < BUDGET_MIN {
            return Some(r#"{"type":"disabled"}"#.to_owned());
        }
        let (mut text, budget) = (Vec::new(), most.to_string());
        thinking.write(&[("budget_tokens", Edit::Put(&budget))], &mut text);
        String::from_utf8(text).ok()
    }

    /// Reads the request into the neutral form.
    ///
    /// # Errors
    /// Fails if a field has a wrong value; the error names it.
    pub fn neutral(&self) -> Result<Request<'a>, RequestError> {
        read::request(&self.0)
    }
}

/// Writes a neutral request for a provider.
///
/// # Errors
/// Fails if the format or the model cannot express a part of the request; the error names the caller's field.
pub fn write(request: &Request<'_>, stream: bool, target: &Target<'_>) -> Result<Vec<u8>, Untranslatable> {
    write::request(request, stream, target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    #[test]
    fn a_lowered_bound_lowers_the_budget_too() {
        let body = br#"{"model":"m","max_tokens":32000,"thinking":{"type":"enabled","budget_tokens":31999},"messages":[{"role":"user","content":"x"}]}"#;
        let (_, request) = read(body).unwrap();
        let sent = |cap| {
            let target = Target { model: "b", cap: Some(cap), dialect: &Dialect::default() };
            serde_json::from_slice::<serde_json::Value>(&request.upstream_body(&target)).unwrap()["thinking"].to_string()
        };
        assert_eq!(sent(32_000), r#"{"budget_tokens":31999,"type":"enabled"}"#);
        assert_eq!(sent(8_192), r#"{"budget_tokens":8191,"type":"enabled"}"#);
        assert_eq!(sent(1_000), r#"{"type":"disabled"}"#);
    }

    const BODY: &str = r#"{"model":"a/b","models":["c/d"],"max_tokens" : 9,"messages":[{"role":"user","content":"h\u00e9"}],"stream":true,
        "metadata":{"user_id":"u"},"service_tier":"standard_only","top_k":1e0,"provider":{},"new":{"x": 1}}"#;

    fn error(body: &str) -> RequestError {
        read(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn the_head_is_read() {
        let (head, _) = read(BODY.as_bytes()).unwrap();
        assert_eq!(head.models, ["a/b", "c/d"]);
        assert_eq!((head.stream, head.output_tokens_max, head.choices), (true, Some(9), 1));
        assert_eq!((head.user.as_deref(), head.service_tier.as_deref()), (Some("u"), Some("default")));
        assert_eq!(head.prompt_tokens_max, None, "a field that nobody knows");
    }

    #[test]
    fn the_provider_gets_its_model_and_cap_and_none_of_our_fields() {
        let (_, body) = read(BODY.as_bytes()).unwrap();
        let upstream = |cap| String::from_utf8(body.upstream_body(&Target { model: "b", cap, dialect: &Dialect::default() })).unwrap();
        assert_eq!(
            upstream(Some(5)),
            r#"{"model":"b","max_tokens":5,"messages":[{"role":"user","content":"h\u00e9"}],"stream":true,"metadata":{"user_id":"u"},"service_tier":"standard_only","top_k":1e0,"new":{"x": 1}}"#
        );
        assert!(upstream(None).contains(r#""max_tokens":9"#));
    }

    #[test]
    fn a_cap_is_required_except_to_count() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
        assert_eq!(error(body).param(), Some("max_tokens"));
        assert_eq!(read_without_cap(body.as_bytes()).unwrap().0.output_tokens_max, None);
    }

    #[test]
    fn faults_name_their_field() {
        let with = |field: &str| format!(r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"x"}}],{field}}}"#);
        for (field, param) in [
            (r#""metadata":{"user_id":"a\u0000"}"#, "metadata.user_id"),
            (r#""metadata":{"user_id":3}"#, "metadata.user_id"),
            (r#""stream":1"#, "stream"),
            (r#""service_tier":1"#, "service_tier"),
            (r#""models":1"#, "models"),
            (r#""plugins":[{"id":"web"}]"#, "plugins"),
        ] {
            assert_eq!(error(&with(field)).param(), Some(param), "{field}");
        }
        let long = with(&format!(r#""metadata":{{"user_id":"{}"}}"#, "é".repeat(257)));
        assert_eq!(error(&long).param(), Some("metadata.user_id"));
        assert_eq!(error(&with(r#""stream":true,"stream":false"#)), RequestError::Repeated("stream".to_owned()));
        for messages in ["[]", "3", "[3]", r#"[{"content":"x"}]"#, r#"[{"role":3}]"#] {
            assert_eq!(error(&format!(r#"{{"model":"m","max_tokens":5,"messages":{messages}}}"#)).param(), Some("messages"), "{messages}");
        }
        assert_eq!(error(r#"{"model":"m","max_tokens":5}"#).param(), Some("messages"));
        assert_eq!(error(r#"{"max_tokens":5,"messages":[{"role":"user"}]}"#).param(), Some("model"));
        assert_eq!(error(r#"{"model":"m","max_tokens":-1,"messages":[{"role":"user"}]}"#).param(), Some("max_tokens"));
        assert!(matches!(error("[]"), RequestError::NotJson(_)));
    }
}
