//! A chat request: the few fields that the gateway acts on, and the body for the provider.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use super::prompt::{self, length};
use crate::call::{Head, RequestError, Target};
use crate::fields::{Edit, Fields, quoted};
use crate::routing::Routing;

/// The maximum number of choices that one request may ask for (OpenAI's bound).
const CHOICES_MAX: u64 = 128;
/// The maximum length of `user` in characters.
const USER_CHARS_MAX: usize = 256;
/// The maximum length of a model's name in bytes.
const MODEL_BYTES_MAX: usize = 256;
/// The maximum number of candidates, from `model` and `models` together.
const MODELS_MAX: usize = 16;
/// Tokens that a model's template adds to the messages: a default system prompt, the date, the start of the answer. The longest known
/// templates are Llama 3.1's, about 30 tokens, and ChatML spelled in bytes, 54.
const TEMPLATE_TOKENS: u64 = 64;
/// Fields of the gateway's own that no provider knows.
pub const OWN_FIELDS: [&str; 7] = ["models", "route", "provider", "plugins", "transforms", "usage", "session_id"];
/// Names of the bound on completion tokens. A provider receives at most one of them.
const CAP_FIELDS: [&str; 2] = ["max_tokens", "max_completion_tokens"];
/// Settings that are no part of a prompt. All other content that is sent counts towards the prompt's bound.
const SETTINGS: [&str; 25] = [
    "model",
    "stream",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "top_a",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "logprobs",
    "top_logprobs",
    "user",
    "service_tier",
    "store",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
    "safety_identifier",
    "prompt_cache_key",
    "include_reasoning",
];
/// The maximum size of a setting in bytes; a longer one counts towards the prompt.
const SETTING_BYTES_MAX: usize = 512;
/// Fields that make a provider add content from elsewhere to the prompt.
const OPEN_FIELDS: [&str; 8] = [
    "web_search_options",
    "search_parameters",
    "enable_search",
    "previous_response_id",
    "conversation",
    "file_ids",
    "attachments",
    "prompt_id",
];
/// The body of a chat request over the bytes that it arrived as.
#[derive(Debug)]
pub struct ChatBody<'a>(Fields<'a>);

/// Returns the error for a field with a wrong value.
pub(super) fn wrong(field: &'static str, message: impl fmt::Display) -> RequestError {
    RequestError::Field { field, message: format!("Invalid '{field}': {message}.") }
}

impl<'a> ChatBody<'a> {
    /// Reads a body and its head.
    ///
    /// # Errors
    /// Fails if the body is not a chat request; the error names the field.
    pub fn read(body: &'a [u8]) -> Result<(Head, Self), RequestError> {
        let fields = Fields::parse(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
        if let Some(name) = fields.repeated() {
            return Err(RequestError::Repeated(name.to_owned()));
        }
        let content = prompt::read(&fields)?.content;
        let models = models(&fields)?;
        let output_tokens_max = output_cap(&fields)?;
        let choices = number(&fields, "n", "a whole number from 1 to 128")?.unwrap_or(1);
        if !(1..=CHOICES_MAX).contains(&choices) {
            return Err(wrong("n", "it must be a whole number from 1 to 128"));
        }
        let user = user(&fields)?;
        let bytes = sent_bytes(&fields).saturating_sub(content.image_bytes);
        let is_bounded = content.other_bytes == 0 && is_closed(&fields);
        let head = Head {
            models,
            stream: fields.read("stream").map_err(|_| wrong("stream", "it must be true or false"))?.unwrap_or(false),
            output_tokens_max,
            choices,
            user,
            service_tier: text(&fields, "service_tier")?,
            images: content.images,
            has_reasoning_object: fields.get("reasoning").is_some_and(|raw| raw.get().starts_with('{')),
            has_base64_vectors: false,
            has_tools: fields.get("tools").is_some_and(|tools| !matches!(tools.get(), "null" | "[]")),
            prompt_tokens_max: is_bounded.then(|| bytes.saturating_add(TEMPLATE_TOKENS)),
            prompt_text_bytes: bytes.saturating_sub(content.other_bytes),
            routing: Routing::read(&fields)?,
        };
        Ok((head, Self(fields)))
    }

    /// Returns the members of the body.
    pub(crate) const fn fields(&self) -> &Fields<'a> {
        &self.0
    }

    /// Returns the prompt's bound, which is at most `by_bytes`. `count` counts the plain text of messages; everything else counts by its
    /// bytes.
    #[must_use]
    pub fn prompt_tokens_counted(&self, by_bytes: u64, count: impl Fn(&str) -> u64) -> Option<u64> {
        prompt::tokens_counted(self.0.get("messages")?, by_bytes, count)
    }

    /// Returns the body for a provider: with its model name and a request for usage, without the gateway's own fields, and with the cap
    /// only under the provider's name for it.
    #[must_use]
    pub fn upstream_body(&self, stream: bool, target: &Target<'_>) -> Vec<u8> {
        let Target { model, cap, dialect } = *target;
        let cap_field = dialect.cap_field.as_str();
        let model = quoted(model);
        let mut edits = vec![("model", Edit::Put(&model))];
        edits.extend(OWN_FIELDS.iter().map(|name| (*name, Edit::Drop)));
        let options = (stream && dialect.has_stream_options).then(|| self.stream_options());
        if let Some(options) = &options {
            edits.push(("stream_options", Edit::Put(options)));
        }
        let cap = cap.map(|cap| cap.to_string());
        for name in CAP_FIELDS {
            let edit = cap.as_deref().filter(|_| name == cap_field).map_or(Edit::Drop, Edit::Put);
            edits.push((name, edit));
        }
        if let Some(cap) = cap.as_deref().filter(|_| !CAP_FIELDS.contains(&cap_field)) {
            edits.push((cap_field, Edit::Put(cap)));
        }
        let mut body = Vec::with_capacity(self.0.0.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum::<usize>() + 128);
        self.0.write(&edits, &mut body);
        body
    }

    /// Returns the caller's `stream_options` with `include_usage` on.
    fn stream_options(&self) -> String {
        let mut options = Vec::new();
        match self.0.get("stream_options").map(|raw| Fields::parse(raw.get().as_bytes())) {
            Some(Ok(fields)) => fields.write(&[("include_usage", Edit::Put("true"))], &mut options),
            Some(Err(_)) | None => options.extend_from_slice(b"{\"include_usage\":true}"),
        }
        String::from_utf8(options).unwrap_or_default()
    }
}

/// Returns whether a value is a number, a boolean or null.
pub(super) fn is_plain(raw: &RawValue) -> bool {
    !matches!(raw.get().as_bytes().first(), Some(b'"' | b'[' | b'{'))
}

/// Returns whether only the request itself becomes part of the prompt. No field may make the provider look elsewhere, and the provider may
/// run no tool by itself.
fn is_closed(fields: &Fields<'_>) -> bool {
    // An empty object is not off: it turns on OpenAI's search.
    let is_off = |raw: &RawValue| matches!(raw.get(), "null" | "false" | "[]");
    let closed = |name: &str| fields.get(name).is_none_or(is_off);
    let functions = |raw: &RawValue| {
        raw.get() == "null"
            || serde_json::from_str::<Vec<Fields<'_>>>(raw.get()).is_ok_and(|tools| {
                tools.iter().all(|tool| {
                    tool.repeated().is_none()
                        && matches!(tool.read::<String>("type").ok().flatten().as_deref(), Some("function" | "custom"))
                })
            })
    };
    OPEN_FIELDS.iter().all(|name| closed(name)) && fields.get("tools").is_none_or(functions)
}

/// Returns the bytes of everything that is sent, except short settings. This bounds the prompt's tokens: every token stands for at least
/// one byte, and a message as JSON is at least as long as the message in a template.
fn sent_bytes(fields: &Fields<'_>) -> u64 {
    let counts = |(name, raw): &&(Cow<'_, str>, &RawValue)| {
        let is_setting =
            SETTINGS.contains(&name.as_ref()) && (is_plain(raw) || raw.get().starts_with('"')) && raw.get().len() <= SETTING_BYTES_MAX;
        !is_setting && !OWN_FIELDS.contains(&name.as_ref()) && name != "stream_options"
    };
    fields.0.iter().filter(counts).map(|(_, raw)| length(raw)).sum()
}

/// Returns the end user as the caller names it.
///
/// # Errors
/// Fails if the name is too long or has control characters.
pub fn user(fields: &Fields<'_>) -> Result<Option<String>, RequestError> {
    let user = text(fields, "user")?;
    if user.as_ref().is_some_and(|user| user.chars().count() > USER_CHARS_MAX || user.chars().any(char::is_control)) {
        return Err(wrong("user", "it must have at most 256 characters, and no control characters"));
    }
    Ok(user)
}

/// Returns the candidates of `model` and `models`; at least one.
///
/// # Errors
/// Fails if there is none, or if a name is not valid.
pub fn models(fields: &Fields<'_>) -> Result<Vec<String>, RequestError> {
    let mut models: Vec<String> = text(fields, "model")?.into_iter().collect();
    let more: Option<Vec<String>> = fields.read("models").map_err(|_| wrong("models", "it must be an array of model names"))?;
    for (field, names) in [("model", &models), ("models", more.as_ref().unwrap_or(&Vec::new()))] {
        if names.iter().any(|model| model.len() > MODEL_BYTES_MAX || model.chars().any(char::is_control)) {
            return Err(wrong(field, "a name must have at most 256 bytes, and no control characters"));
        }
    }
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

/// Returns the bound on completion tokens; the smaller one if both fields are given.
///
/// # Errors
/// Fails if one of them is not a whole number of at least 1.
pub(super) fn output_cap(fields: &Fields<'_>) -> Result<Option<u64>, RequestError> {
    let mut cap: Option<u64> = None;
    for field in CAP_FIELDS {
        let Some(tokens) = number(fields, field, "a whole number of at least 1")? else { continue };
        if tokens == 0 {
            return Err(wrong(field, "it must be a whole number of at least 1"));
        }
        cap = Some(cap.map_or(tokens, |other| other.min(tokens)));
    }
    Ok(cap)
}

/// Returns the whole number in a field.
pub(super) fn number(fields: &Fields<'_>, field: &'static str, what: &str) -> Result<Option<u64>, RequestError> {
    fields.read(field).map_err(|_| wrong(field, format_args!("it must be {what}")))
}

/// Returns the text in a field.
pub(super) fn text(fields: &Fields<'_>, field: &'static str) -> Result<Option<String>, RequestError> {
    fields.read(field).map_err(|_| wrong(field, "it must be a string"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    fn message(body: &str) -> String {
        ChatBody::read(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_provider_gets_its_model_and_none_of_our_fields() {
        let body = br#"{"model":"a/b","models":["c/d"],"route":"fallback","messages":[{"role":"user","content":"h\u00e9"}],"stream":true,"seed":1e3,"provider":{}}"#;
        let (head, request) = ChatBody::read(body).unwrap();
        assert_eq!(head.models, ["a/b", "c/d"]);
        let upstream =
            String::from_utf8(request.upstream_body(true, &Target { model: "b", cap: Some(7), dialect: &Dialect::default() })).unwrap();
        assert_eq!(
            upstream,
            r#"{"model":"b","messages":[{"role":"user","content":"h\u00e9"}],"stream":true,"seed":1e3,"stream_options":{"include_usage":true},"max_tokens":7}"#
        );
    }

    #[test]
    fn the_cap_goes_out_under_the_providers_name_and_options_are_kept_in_place() {
        let body = br#"{"model":"b","messages":[{"role":"user"}],"max_completion_tokens":9,"stream":true,"stream_options":{"include_usage":false,"x":1}}"#;
        let (_, request) = ChatBody::read(body).unwrap();
        let upstream = String::from_utf8(request.upstream_body(
            true,
            &Target { model: "b", cap: Some(5), dialect: &Dialect { cap_field: "max_tokens".into(), ..Dialect::default() } },
        ))
        .unwrap();
        assert_eq!(
            upstream,
            r#"{"model":"b","messages":[{"role":"user"}],"stream":true,"stream_options":{"include_usage":true,"x":1},"max_tokens":5}"#
        );
        let upstream = String::from_utf8(request.upstream_body(
            true,
            &Target { model: "b", cap: Some(5), dialect: &Dialect { cap_field: "max_completion_tokens".into(), ..Dialect::default() } },
        ))
        .unwrap();
        assert!(upstream.contains(r#""max_completion_tokens":5"#) && !upstream.contains("max_tokens"));
        let both = br#"{"model":"b","messages":[{"role":"user"}],"max_completion_tokens":9,"max_tokens":500}"#;
        assert_eq!(ChatBody::read(both).unwrap().0.output_tokens_max, Some(9), "the smaller one of both");
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

    fn head(rest: &str) -> Head {
        let body = format!(r#"{{"model":"b",{rest}}}"#);
        ChatBody::read(body.as_bytes()).unwrap().0
    }

    fn bound(rest: &str) -> Option<u64> {
        head(rest).prompt_tokens_max
    }

    #[test]
    fn only_text_and_images_have_a_bound() {
        let part = |part: &str| bound(&format!(r#""messages":[{{"role":"user","content":[{part}]}}]"#));
        assert!(part(r#"{"type":"text","text":"x"}"#).is_some());
        for kind in [
            r#"{"type":"image_url","image_url":{"url":"https://x/y.png"},"min_pixels":4}"#,
            r#"{"type":"image_url","image_url":{"url":"https://x/y.png","format":"video/mp4"}}"#,
            r#"{"type":"image_url","image_url":{"url":"https://x/y.png"},"image_url":{"url":"https://x/z.png"}}"#,
            r#"{"type":"image_url","image_url":{"url":"https://x/y.png","url":"https://x/z.png"}}"#,
            r#"{"type":"image_url","image_url":{"url":"data:application/pdf;base64,JVBE"}}"#,
            r#"{"type":"image_url","image_url":{"url":"gs://x/y.png"}}"#,
            r#"{"type":"image_url","image_url":{"url":["https://x/y.png"]}}"#,
            r#"{"type":"image_url","image_url":{"detail":"low"}}"#,
            r#"{"type":"image_url","image_url":"https://x/y.png"}"#,
            r#"{"type":"image_url"}"#,
            r#"{"type":"audio_url","audio_url":{}}"#,
            r#"{"type":"what_comes_next"}"#,
            r#"{"text":"x"}"#,
            r#"{"type":"text","type":"image_url","text":"x"}"#,
            r#"{"type":"text","text":"x","image_url":{"url":"https://x"}}"#,
        ] {
            assert_eq!(part(kind), None, "{kind}");
        }
        let text = r#""messages":[{"role":"user","content":"x"}]"#;
        for other in [
            r#""messages":[{"role":"assistant","audio":{"id":"a"}}]"#.to_owned(),
            r#""messages":[{"role":"user","images":["aGk="],"content":"x"}]"#.to_owned(),
            r#""messages":[{"role":"user","content":{"type":"x"}}]"#.to_owned(),
            format!(r#"{text},"web_search_options":{{}}"#),
            format!(r#"{text},"tools":[{{"type":"web_search"}}]"#),
            format!(r#"{text},"tools":[{{"t\u0079pe":"function","type":"web_search"}}]"#),
        ] {
            assert_eq!(bound(&other), None, "{other}");
        }
        assert!(bound(&format!(r#"{text},"tools":[{{"type":"function","function":{{"name":"f"}}}}]"#)).is_some());
    }

    #[test]
    fn images_are_numbered_and_their_bytes_do_not_count() {
        let with = |parts: &str| head(&format!(r#""messages":[{{"role":"user","content":[{{"type":"text","text":"x"}}{parts}]}}]"#));
        let text = with("");
        let long = "iVBO".repeat(1_000);
        for image in [
            r#"{"type":"image_url","image_url":{"url":"https://x/y.png"}}"#.to_owned(),
            r#"{"type":"image\u005furl","image_url":{"url":"https:\/\/x/y.png","detail":null}}"#.to_owned(),
            format!(r#"{{"image_url":{{"detail":"high","url":"data:image/png;base64,{long}"}},"type":"image_url"}}"#),
        ] {
            let two = with(&format!(",{image},{image}"));
            assert_eq!((two.images, two.prompt_text_bytes), (2, text.prompt_text_bytes + 2), "{image}");
            assert_eq!(two.prompt_tokens_max, text.prompt_tokens_max.map(|bound| bound + 2), "two commas: {image}");
        }
        assert_eq!(text.images, 0);
    }

    #[test]
    fn everything_that_is_sent_counts_but_settings() {
        let text = r#""messages":[{"role":"user","content":"x"}]"#;
        let plain = bound(text).unwrap();
        let with = |more: &str| bound(&format!("{text},{more}")).unwrap();
        assert_eq!(with(r#""temperature":0.5,"seed":7,"user":"u","stream":false"#), plain);
        assert_eq!(with(r#""route":"fallback""#), plain, "it is not sent");
        assert_eq!(with(&format!(r#""documents":"{}""#, "d".repeat(1_000))), plain + 1_002);
        assert_eq!(with(&format!(r#""reasoning_effort":"{}""#, "d".repeat(1_000))), plain + 1_002, "too long for a setting");
        assert_eq!(with(r#""temperature":[1]"#), plain + 3, "no setting");
    }

    #[test]
    fn control_characters_are_refused_where_text_is_stored() {
        let text = r#""messages":[{"role":"user","content":"x\u0000"}]"#;
        assert!(ChatBody::read(format!(r#"{{"model":"b",{text}}}"#).as_bytes()).is_ok(), "a prompt is not stored");
        assert!(message(&format!(r#"{{"model":"b","user":"a\u0000b",{text}}}"#)).contains("'user'"));
        assert!(message(&format!(r#"{{"model":"a\u0007",{text}}}"#)).contains("'model'"));
        assert!(message(&format!(r#"{{"model":"{}",{text}}}"#, "m".repeat(257))).contains("'model'"));
    }

    #[test]
    fn plain_text_counts_by_its_tokens_and_all_else_by_its_bytes() {
        // This tokenizer makes one token of every text.
        let counted = |messages: &str| {
            let body = format!(r#"{{"model":"b","messages":[{messages}]}}"#);
            let (head, request) = ChatBody::read(body.as_bytes()).unwrap();
            (head.prompt_tokens_max.and_then(|bytes| request.prompt_tokens_counted(bytes, |_| 1)), head.prompt_tokens_max)
        };
        let long = "word ".repeat(50);
        let (role, frame) = (r#""user""#.len() as u64, prompt::MESSAGE_TOKENS + TEMPLATE_TOKENS);
        let text = format!(r#"{{"role":"user","content":"{long}"}}"#);
        assert_eq!(counted(&text).0, Some(frame + role + 1));
        let parts = format!(r#"{{"role":"user","content":[{{"type":"text","text":"{long}"}},{{"type":"text","text":"\u00e9{long}"}}]}}"#);
        assert_eq!(counted(&parts).0, Some(frame + role + 2));
        let cached = format!(r#"{{"type":"text","text":"{long}","cache_control":{{}}}}"#);
        let other = format!(r#"{{"role":"user","content":[{cached}]}}"#);
        assert_eq!(counted(&other).0, Some(frame + role + cached.len() as u64));
        let calls = format!(r#"[{{"id":"{long}"}}]"#);
        let called = format!(r#"{{"role":"user","content":null,"tool_calls":{calls}}}"#);
        assert_eq!(counted(&called).0, Some(frame + role + calls.len() as u64 + "null".len() as u64));
        let (short, by_bytes) = counted(r#"{"role":"user","content":""}"#);
        assert!(short <= by_bytes, "never more than the bytes");
        assert_eq!(counted(r#"{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"aGk="}}]}"#).0, None);
        let image = format!(r#"{{"type":"image_url","image_url":{{"url":"https://x/{}"}}}}"#, "y".repeat(9_000));
        let seen = format!(r#"{{"role":"user","content":[{image},{{"type":"text","text":"{long}"}}]}}"#);
        assert_eq!(counted(&seen).0, Some(frame + role + 1), "an image has its own price");
    }
}
