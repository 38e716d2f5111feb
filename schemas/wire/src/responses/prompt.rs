//! The size of a prompt: an upper bound of its tokens, derived from its bytes. Money depends on it: content that is not known has no bound.

use serde_json::value::RawValue;

use super::items::{member, present, text};
use super::request::{is_reference, wrong};
use crate::call::RequestError;
use crate::chat::request::OWN_FIELDS;
use crate::fields::{Fields, each};

/// Tokens that a model's template adds to the prompt.
const TEMPLATE_TOKENS: u64 = 64;
/// Tokens that a template puts around an item.
const ITEM_TOKENS: u64 = 8;
/// Settings that are no part of a prompt.
const SETTINGS: [&str; 18] = [
    "model",
    "stream",
    "max_output_tokens",
    "max_tool_calls",
    "temperature",
    "top_p",
    "top_logprobs",
    "user",
    "safety_identifier",
    "service_tier",
    "store",
    "background",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "truncation",
    "previous_response_id",
    "conversation",
];
/// The maximum size of a setting in bytes; a longer one counts towards the prompt.
const SETTING_BYTES_MAX: usize = 512;
/// Fields that are sent and known to add nothing to the prompt but their own content.
const COUNTED: [&str; 10] =
    ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "metadata", "include", "prompt_cache_options", "moderation"];
/// Members of `reasoning` that do not multiply the prompt.
const REASONING: [&str; 4] = ["effort", "summary", "generate_summary", "context"];
const MESSAGE: &[&str] = &["type", "role", "content", "id", "status", "phase"];
const CALL: &[&str] = &["type", "id", "call_id", "name", "arguments", "input", "status"];
const RESULT: &[&str] = &["type", "id", "call_id", "name", "output", "status"];
const REASONING_ITEM: &[&str] = &["type", "id", "summary", "content", "encrypted_content", "status"];
const TEXT: &[&str] = &["type", "text", "annotations", "logprobs", "prompt_cache_breakpoint", "cache_control"];
const REFUSAL: &[&str] = &["type", "refusal"];
const IMAGE: &[&str] = &["type", "image_url", "detail", "prompt_cache_breakpoint", "cache_control"];

/// The measured prompt of a request.
#[derive(Debug, Default)]
pub struct Prompt {
    /// The bound without images; `None` if there is none.
    pub tokens_max: Option<u64>,
    pub images: u64,
    /// The bytes of its text.
    pub text_bytes: u64,
}

/// A summary of the input.
#[derive(Debug, Default)]
struct Input {
    items: u64,
    images: u64,
    image_bytes: u64,
    /// The bytes of content that is not known.
    other_bytes: u64,
    has_reference: bool,
    has_other_values: bool,
}

/// Measures the prompt of a request.
pub fn read(fields: &Fields<'_>) -> Result<Prompt, RequestError> {
    if present(fields, "instructions").is_some_and(|raw| text(raw).is_none()) {
        return Err(wrong("instructions", "it must be a string"));
    }
    let input = input(fields)?;
    let bytes = sent_bytes(fields).saturating_sub(input.image_bytes);
    let is_bounded = input.other_bytes == 0 && is_closed(fields);
    let frame = TEMPLATE_TOKENS.saturating_add(input.items.saturating_mul(ITEM_TOKENS));
    Ok(Prompt {
        tokens_max: is_bounded.then(|| bytes.saturating_add(frame)),
        images: input.images,
        text_bytes: bytes.saturating_sub(input.other_bytes),
    })
}

fn input(fields: &Fields<'_>) -> Result<Input, RequestError> {
    let raw = present(fields, "input").ok_or_else(|| wrong("input", "it is required"))?;
    let mut all = Input::default();
    if raw.get().starts_with('"') {
        all.items = 1;
        return Ok(all);
    }
    each(raw, |item| all.add(item)).map_err(|_| wrong("input", "it must be a string or an array of items"))?;
    if all.items == 0 {
        return Err(wrong("input", "it must have at least one item"));
    }
    if all.has_other_values {
        return Err(wrong("input", "each item must be an object with a 'type' or a 'role'"));
    }
    if all.has_reference {
        return Err(wrong("input", "it refers to a stored item, and the gateway stores nothing; send the item itself"));
    }
    Ok(all)
}

/// Returns the bytes of a raw value.
pub fn length(raw: &RawValue) -> u64 {
    u64::try_from(raw.get().len()).unwrap_or(u64::MAX)
}

impl Input {
    fn add(&mut self, raw: &RawValue) {
        self.items = self.items.saturating_add(1);
        let Ok(item) = Fields::parse(raw.get().as_bytes()) else {
            self.has_other_values = true;
            return;
        };
        self.has_reference |= is_reference(&item);
        let (members, content) = match member(&item, "type").as_deref() {
            None | Some("message") => (MESSAGE, "content"),
            Some("function_call" | "custom_tool_call") => (CALL, ""),
            Some("function_call_output" | "custom_tool_call_output") => (RESULT, "output"),
            Some("reasoning") => (REASONING_ITEM, ""),
            Some(_) => (&[][..], ""),
        };
        let is_message = members == MESSAGE;
        self.has_other_values |= is_message && member(&item, "role").is_none() && !self.has_reference;
        if !has_only(&item, members) {
            self.other_bytes = self.other_bytes.saturating_add(length(raw));
        } else if let Some(content) = item.get(content) {
            self.add_content(content);
        }
    }

    fn add_content(&mut self, raw: &RawValue) {
        if raw.get() == "null" || raw.get().starts_with('"') {
            return;
        }
        let before = self.other_bytes;
        if each(raw, |part| self.add_part(part)).is_err() {
            self.other_bytes = before.saturating_add(length(raw));
        }
    }

    fn add_part(&mut self, raw: &RawValue) {
        let image = Fields::parse(raw.get().as_bytes()).ok().and_then(|part| match member(&part, "type")?.as_ref() {
            "input_text" | "output_text" | "text" => has_only(&part, TEXT).then_some(None),
            "refusal" => has_only(&part, REFUSAL).then_some(None),
            "input_image" => is_image(&part).then(|| part.get("image_url")),
            _ => None,
        });
        match image {
            Some(None) => {}
            Some(Some(url)) => {
                self.images = self.images.saturating_add(1);
                self.image_bytes = self.image_bytes.saturating_add(length(url));
            }
            None => self.other_bytes = self.other_bytes.saturating_add(length(raw)),
        }
    }
}

/// Returns whether an object has only known members, none of them twice.
fn has_only(fields: &Fields<'_>, known: &[&str]) -> bool {
    fields.repeated().is_none() && fields.0.iter().all(|(name, raw)| known.contains(&name.as_ref()) || raw.get() == "null")
}

/// Returns whether a part is exactly an image that stands in the request or at an address.
fn is_image(part: &Fields<'_>) -> bool {
    let is_address = |url: &str| ["data:image/", "https://", "http://"].iter().any(|prefix| url.starts_with(prefix));
    let is_detail = |raw: &RawValue| text(raw).is_some_and(|detail| matches!(detail.as_ref(), "auto" | "low" | "high" | "original"));
    has_only(part, IMAGE) && member(part, "image_url").is_some_and(|url| is_address(&url)) && present(part, "detail").is_none_or(is_detail)
}

/// Returns whether only the request itself becomes part of the prompt: the provider looks nowhere else, and runs no tool by itself.
fn is_closed(fields: &Fields<'_>) -> bool {
    let is_known = |name: &str, raw: &RawValue| {
        let is_plain = !matches!(raw.get().as_bytes().first(), Some(b'"' | b'[' | b'{'));
        is_plain || COUNTED.contains(&name) || SETTINGS.contains(&name) || OWN_FIELDS.contains(&name) || name == "stream_options"
    };
    let functions = |raw: &RawValue| {
        serde_json::from_str::<Vec<Fields<'_>>>(raw.get()).is_ok_and(|tools| {
            tools.iter().all(|tool| {
                tool.repeated().is_none() && member(tool, "type").is_some_and(|kind| matches!(kind.as_ref(), "function" | "custom"))
            })
        })
    };
    let reasons_once = |raw: &RawValue| Fields::parse(raw.get().as_bytes()).is_ok_and(|reasoning| has_only(&reasoning, &REASONING));
    fields.0.iter().all(|(name, raw)| is_known(name, raw))
        && present(fields, "tools").is_none_or(functions)
        && present(fields, "reasoning").is_none_or(reasons_once)
}

/// Returns the bytes of everything that is sent, except short settings. Every token stands for at least one byte.
fn sent_bytes(fields: &Fields<'_>) -> u64 {
    let is_setting = |name: &str, raw: &RawValue| {
        let is_short = raw.get().len() <= SETTING_BYTES_MAX && !matches!(raw.get().as_bytes().first(), Some(b'[' | b'{'));
        SETTINGS.contains(&name) && is_short
    };
    let counts = |name: &str, raw: &RawValue| !is_setting(name, raw) && !OWN_FIELDS.contains(&name) && name != "stream_options";
    fields.0.iter().filter(|(name, raw)| counts(name, raw)).map(|(_, raw)| length(raw)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rest: &str) -> Prompt {
        read(&Fields::parse(format!(r#"{{"model":"b",{rest}}}"#).as_bytes()).unwrap()).unwrap()
    }

    fn bound(rest: &str) -> Option<u64> {
        measured(rest).tokens_max
    }

    fn with(rest: &str) -> Option<u64> {
        bound(&format!(r#""input":"x",{rest}"#))
    }

    #[test]
    fn text_and_calls_have_a_bound() {
        assert_eq!(bound(r#""input":"x""#), Some(3 + TEMPLATE_TOKENS + ITEM_TOKENS));
        for item in [
            r#"{"role":"user","content":"x"}"#,
            r#"{"type":"message","role":"assistant","id":"m","status":"completed","phase":"final_answer","content":[{"type":"output_text","text":"x","annotations":[],"logprobs":[]},{"type":"refusal","refusal":"no"}]}"#,
            r#"{"type":"function_call","id":"f","call_id":"c","name":"n","arguments":"{}","status":"completed"}"#,
            r#"{"type":"custom_tool_call","call_id":"c","name":"n","input":"x","namespace":null}"#,
            r#"{"type":"function_call_output","call_id":"c","output":"x"}"#,
            r#"{"type":"custom_tool_call_output","call_id":"c","output":[{"type":"input_text","text":"x"}]}"#,
            r#"{"type":"reasoning","id":"r","summary":[],"encrypted_content":"x"}"#,
        ] {
            assert_eq!(bound(&format!(r#""input":[{item}]"#)), Some(item.len() as u64 + 2 + TEMPLATE_TOKENS + ITEM_TOKENS), "{item}");
        }
    }

    #[test]
    fn anything_else_has_none() {
        let part = |part: &str| bound(&format!(r#""input":[{{"role":"user","content":[{part}]}}]"#));
        for unknown in [
            r#"{"type":"input_file","file_data":"x"}"#,
            r#"{"type":"input_audio","input_audio":{}}"#,
            r#"{"type":"input_image","file_id":"f"}"#,
            r#"{"type":"input_image","image_url":"https://x","more":"y"}"#,
            r#"{"type":"input_image","image_url":"https://x","image_url":"https://y"}"#,
            r#"{"type":"input_image","image_url":"data:application/pdf;base64,eA=="}"#,
            r#"{"type":"input_image","image_url":"https://x","detail":"enormous"}"#,
            r#"{"type":"input_text","type":"input_file","text":"x"}"#,
            r#"{"type":"input\u005ffile","file_data":"x"}"#,
            r#"{"text":"x"}"#,
            r#""x""#,
        ] {
            assert_eq!(part(unknown), None, "{unknown}");
        }
        for item in [
            r#"{"type":"web_search_call","id":"w"}"#,
            r#"{"type":"compaction","encrypted_content":"x"}"#,
            r#"{"role":"user","content":"x","attachments":["f"]}"#,
            r#"{"role":"user","content":{"type":"x"}}"#,
            r#"{"type":"function_call_output","call_id":"c","output":[{"type":"input_file","file_id":"f"}]}"#,
        ] {
            assert_eq!(bound(&format!(r#""input":[{item}]"#)), None, "{item}");
        }
        for field in [
            r#""tools":[{"type":"web_search"}]"#,
            r#""tools":[{"type":"function","type":"mcp"}]"#,
            r#""reasoning":{"mode":"pro"}"#,
            r#""context_management":[{"type":"compaction"}]"#,
            r#""what_comes_next":"x""#,
        ] {
            assert_eq!(with(field), None, "{field}");
        }
        assert!(
            with(r#""tools":[{"type":"function","name":"f"},{"type":"custom","name":"g"}],"reasoning":{"effort":"low"},"new":7"#).is_some()
        );
    }

    #[test]
    fn an_image_counts_as_one_and_not_by_its_bytes() {
        let image = |url: &str| {
            measured(&format!(r#""input":[{{"role":"user","content":[{{"type":"input_image","image_url":"{url}","detail":"low"}}]}}]"#))
        };
        let small = image("data:image/png;base64,");
        let large = image(&format!("data:image/png;base64,{}", "A".repeat(10_000)));
        assert_eq!((small.images, small.tokens_max, small.text_bytes), (large.images, large.tokens_max, large.text_bytes));
        assert_eq!(image("https://x/y.png").images, 1);
        let result = measured(
            r#""input":[{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"https://x"}]}]"#,
        );
        assert_eq!((result.images, result.tokens_max.is_some()), (1, true));
    }

    #[test]
    fn everything_that_is_sent_counts_but_settings() {
        let plain = bound(r#""input":"x""#);
        assert_eq!(with(r#""temperature":0.5,"user":"u","stream":false,"store":false,"route":"fallback""#), plain);
        assert_eq!(with(r#""instructions":"1234""#), plain.map(|bytes| bytes + 6));
        assert_eq!(with(&format!(r#""user":"{}""#, "d".repeat(1_000))), plain.map(|bytes| bytes + 1_002), "too long for a setting");
        let other = measured(r#""input":[{"role":"user","content":[{"type":"input_file","file_data":"123456789"}]}]"#);
        assert!(other.text_bytes < 40, "{other:?}");
    }
}
