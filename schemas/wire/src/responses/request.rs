//! A request to the Responses API: its head, and the body for a provider of the same format.

use std::fmt;

use serde_json::value::RawValue;

use super::items::{member, text};
use super::prompt::{self, length};
use super::read;
pub use super::write::{HARMLESS, write};
use crate::call::{Head, RequestError, Target};
use crate::chat::request::{OWN_FIELDS, models, user};
use crate::fields::{Edit, Fields, each, quoted};
use crate::neutral::Request;
use crate::routing::Routing;

/// The gateway's fields for functions that it does not support.
/// Settings that ask for state at the provider if they are true.
const STORING: [&str; 2] = ["store", "background"];
/// Fields that refer to state at the provider.
const STORED: [&str; 3] = ["previous_response_id", "conversation", "prompt"];
/// The remedy for a request that needs stored state.
const STORES_NOTHING: &str = "the gateway stores nothing; leave it out, and send the whole conversation in 'input'";

/// The body over the bytes that it arrived as.
#[derive(Debug)]
pub struct Body<'a>(Fields<'a>);

/// Returns the error for a field with a wrong value.
pub(super) fn wrong(field: &'static str, message: impl fmt::Display) -> RequestError {
    RequestError::Field { field, message: format!("Invalid '{field}': {message}.") }
}

/// Reads a body and its head.
///
/// # Errors
/// Fails if the body is not a request of this format, or needs state that the gateway does not keep; the error names the field.
pub fn read(body: &[u8]) -> Result<(Head, Body<'_>), RequestError> {
    let fields = Fields::parse(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
    if let Some(name) = fields.repeated() {
        return Err(RequestError::Repeated(name.to_owned()));
    }
    refuse_stored_state(&fields)?;
    let prompt = prompt::read(&fields)?;
    let head = Head {
        models: models(&fields)?,
        stream: flag(&fields, "stream")?.unwrap_or(false),
        output_tokens_max: output_cap(&fields)?,
        choices: 1,
        user: user(&fields)?,
        service_tier: fields.read("service_tier").map_err(|_| wrong("service_tier", "it must be a string"))?,
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

fn refuse_stored_state(fields: &Fields<'_>) -> Result<(), RequestError> {
    for name in STORING {
        if flag(fields, name)? == Some(true) {
            return Err(wrong(name, STORES_NOTHING));
        }
    }
    match STORED.into_iter().find(|name| fields.get(name).is_some_and(|raw| raw.get() != "null")) {
        Some(name) => Err(wrong(name, STORES_NOTHING)),
        None => Ok(()),
    }
}

fn flag(fields: &Fields<'_>, name: &'static str) -> Result<Option<bool>, RequestError> {
    fields.read(name).map_err(|_| wrong(name, "it must be true or false"))
}

fn output_cap(fields: &Fields<'_>) -> Result<Option<u64>, RequestError> {
    let fault = || wrong("max_output_tokens", "it must be a whole number of at least 1");
    match fields.read("max_output_tokens").map_err(|_| fault())? {
        Some(0) => Err(fault()),
        cap => Ok(cap),
    }
}

impl<'a> Body<'a> {
    /// Returns the members of the body.
    #[must_use]
    pub(crate) const fn fields(&self) -> &Fields<'a> {
        &self.0
    }

    /// Returns whether an item of earlier reasoning lacks its encrypted form. OpenAI would look for it by its id, but stores nothing.
    #[must_use]
    pub fn has_unsigned_reasoning(&self) -> bool {
        let items = self.0.get("input").and_then(|input| serde_json::from_str::<Vec<Fields<'_>>>(input.get()).ok());
        let is_unsigned = |item: &Fields<'_>| {
            item.get("type").is_some_and(|kind| kind.get() == "\"reasoning\"")
                && item.get("encrypted_content").is_none_or(|encrypted| encrypted.get() == "null")
        };
        items.is_some_and(|items| items.iter().any(is_unsigned))
    }

    /// Returns the prompt's bound, which is at most `by_bytes`. `count` counts the instructions and the plain text of messages; everything
    /// else counts by its bytes.
    pub fn prompt_tokens_counted(&self, by_bytes: u64, count: impl Fn(&str) -> u64) -> Option<u64> {
        let saved = |raw: &RawValue| text(raw).map_or(0, |text| length(raw).saturating_sub(count(&text)));
        let saved_part = |raw: &RawValue| {
            let part = Fields::parse(raw.get().as_bytes()).ok()?;
            part.get("text").filter(|_| part.0.len() == 2 && part.get("type").is_some()).map(&saved)
        };
        let saved_item = |raw: &RawValue| {
            let item = Fields::parse(raw.get().as_bytes()).ok()?;
            let content = item.get("content").filter(|_| item.get("role").is_some())?;
            let parts = || serde_json::from_str::<Vec<&RawValue>>(content.get()).unwrap_or_default();
            Some(saved(content).saturating_add(parts().into_iter().filter_map(saved_part).sum()))
        };
        let mut all = self.0.get("instructions").map_or(0, &saved);
        let input = self.0.get("input")?;
        all = all.saturating_add(saved(input));
        if input.get().starts_with('[') {
            each(input, |item| all = all.saturating_add(saved_item(item).unwrap_or(0))).ok()?;
        }
        Some(by_bytes.saturating_sub(all))
    }

    /// Returns the body for a provider: with its model name and the cap, without storage and the gateway's own fields.
    pub fn upstream_body(&self, target: &Target<'_>) -> Vec<u8> {
        let model = quoted(target.model);
        let cap = target.cap.map(|cap| cap.to_string());
        let mut edits = vec![("model", Edit::Put(&model)), ("store", Edit::Put("false"))];
        edits.extend(OWN_FIELDS.iter().map(|name| (*name, Edit::Drop)));
        edits.extend(cap.as_deref().map(|cap| ("max_output_tokens", Edit::Put(cap))));
        let mut body = Vec::with_capacity(self.0.0.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum::<usize>() + 128);
        self.0.write(&edits, &mut body);
        body
    }

    /// Reads the request into the neutral form.
    ///
    /// # Errors
    /// Fails if a field has a wrong value; the error names it.
    pub fn neutral(&self) -> Result<Request<'a>, RequestError> {
        read::request(&self.0)
    }
}

/// Returns a provider's body without the fields that its operation for counting refuses.
#[must_use]
pub fn count_body(body: &[u8]) -> Vec<u8> {
    let mut count = Vec::with_capacity(body.len());
    match Fields::parse(body) {
        Ok(fields) => fields.write(&[("store", Edit::Drop), ("stream", Edit::Drop)], &mut count),
        Err(_) => count.extend_from_slice(body),
    }
    count
}

/// Returns whether an item refers to an item that the provider stored.
pub(super) fn is_reference(item: &Fields<'_>) -> bool {
    match member(item, "type") {
        Some(kind) => kind == "item_reference",
        None => item.get("role").is_none() && item.get("id").is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    fn fault(body: &str) -> String {
        read(body.as_bytes()).unwrap_err().to_string()
    }

    fn with(rest: &str) -> String {
        format!(r#"{{"model":"b","input":"x",{rest}}}"#)
    }

    #[test]
    fn state_at_the_provider_is_refused_with_the_remedy() {
        for (field, value) in [
            ("store", "true"),
            ("background", "true"),
            ("previous_response_id", r#""resp_1""#),
            ("conversation", r#""conv_1""#),
            ("conversation", r#"{"id":"conv_1"}"#),
            ("prompt", r#"{"id":"pmpt_1"}"#),
        ] {
            let text = fault(&with(&format!(r#""{field}":{value}"#)));
            assert!(text.contains(&format!("'{field}'")) && text.contains("stores nothing") && text.contains("'input'"), "{text}");
        }
        for body in [r#"{"model":"b","input":[{"type":"item_reference","id":"rs_1"}]}"#, r#"{"model":"b","input":[{"id":"msg_1"}]}"#] {
            assert!(fault(body).contains("'input'") && fault(body).contains("stored"), "{}", fault(body));
        }
        for rest in [r#""store":false"#, r#""store":null,"background":false,"previous_response_id":null,"conversation":null,"prompt":null"#]
        {
            assert!(read(with(rest).as_bytes()).is_ok(), "{rest}");
        }
    }

    #[test]
    fn bad_requests_name_the_field() {
        for (body, field) in [
            (r#"{"model":"b"}"#, "input"),
            (r#"{"model":"b","input":null}"#, "input"),
            (r#"{"model":"b","input":[]}"#, "input"),
            (r#"{"model":"b","input":7}"#, "input"),
            (r#"{"model":"b","input":["x"]}"#, "input"),
            (r#"{"model":"b","input":[{"content":"x"}]}"#, "input"),
            (r#"{"input":"x"}"#, "model"),
            (r#"{"model":"b","input":"x","instructions":["y"]}"#, "instructions"),
            (r#"{"model":"b","input":"x","max_output_tokens":0}"#, "max_output_tokens"),
            (r#"{"model":"b","input":"x","max_output_tokens":-1}"#, "max_output_tokens"),
            (r#"{"model":"b","input":"x","stream":"yes"}"#, "stream"),
            (r#"{"model":"b","input":"x","store":1}"#, "store"),
            (r#"{"model":"b","input":"x","user":"a\u0000"}"#, "user"),
            (r#"{"model":"b","input":"x","plugins":[{"id":"web"}]}"#, "plugins"),
            (r#"{"model":"b","input":"x","service_tier":1}"#, "service_tier"),
        ] {
            assert!(fault(body).contains(&format!("'{field}'")), "{body}: {}", fault(body));
        }
        assert!(fault("[1]").contains("JSON object"));
        assert_eq!(read(br#"{"model":"b","model":"c","input":"x"}"#).unwrap_err(), RequestError::Repeated("model".into()));
    }

    #[test]
    fn the_provider_gets_its_model_the_cap_and_no_storage() {
        let body = br#"{"model":"a/b","models":["c/d"],"route":"fallback","input":[{"role":"user","content":"h\u00e9"}],"stream":true,"temperature":1e0,"store":null}"#;
        let (head, request) = read(body).unwrap();
        assert_eq!((head.models, head.stream), (vec!["a/b".to_owned(), "c/d".to_owned()], true));
        let target = |cap| Target { model: "b", cap, dialect: Box::leak(Box::default()) as &Dialect };
        assert_eq!(
            String::from_utf8(request.upstream_body(&target(Some(7)))).unwrap(),
            r#"{"model":"b","input":[{"role":"user","content":"h\u00e9"}],"stream":true,"temperature":1e0,"store":false,"max_output_tokens":7}"#
        );
        let without = String::from_utf8(request.upstream_body(&target(None))).unwrap();
        assert!(!without.contains("max_output_tokens") && without.contains(r#""store":false"#));
    }

    #[test]
    fn plain_text_counts_by_its_tokens_and_all_else_by_its_bytes() {
        let long = "word ".repeat(50);
        let counted = |rest: &str| {
            let body = format!(r#"{{"model":"b",{rest}}}"#);
            let (head, request) = read(body.as_bytes()).unwrap();
            let by_bytes = head.prompt_tokens_max.unwrap();
            by_bytes - request.prompt_tokens_counted(by_bytes, |_| 1).unwrap()
        };
        let saved = long.len() as u64 + 1;
        assert_eq!(counted(&format!(r#""input":"{long}""#)), saved);
        assert_eq!(counted(&format!(r#""input":"{long}","instructions":"{long}""#)), 2 * saved);
        assert_eq!(counted(&format!(r#""input":[{{"role":"user","content":"{long}"}}]"#)), saved);
        let part = format!(r#"{{"type":"input_text","text":"{long}"}}"#);
        assert_eq!(counted(&format!(r#""input":[{{"role":"user","content":[{part},{part}]}}]"#)), 2 * saved);
        assert_eq!(counted(&format!(r#""input":[{{"type":"function_call_output","call_id":"c","output":"{long}"}}]"#)), 0);
        assert_eq!(counted(r#""input":"""#), 1);
    }
}
