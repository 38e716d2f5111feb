//! The size of a prompt: an upper bound of its tokens, its images and its text.

use serde_json::value::RawValue;

use super::members::{each, given, length, object, only, string, text};
use crate::call::RequestError;
use crate::chat::request::OWN_FIELDS;
use crate::fields::Fields;

/// Tokens that the template adds to the messages.
const TEMPLATE_TOKENS: u64 = 64;
/// Tokens that the template puts around a message.
const MESSAGE_TOKENS: u64 = 8;
/// Tokens of the instructions that Anthropic adds to a prompt with tools; the most that it lists are 530, for Claude 3 Opus.
const TOOLS_TOKENS: u64 = 600;
/// The maximum size of a setting in bytes; a longer one counts towards the prompt.
const SETTING_BYTES_MAX: usize = 512;
/// Short values that are no part of a prompt.
const SETTINGS: [&str; 13] = [
    "model",
    "stream",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "service_tier",
    "speed",
    "inference_geo",
    "metadata",
    "thinking",
    "user_profile_id",
    "workspace_id",
];
/// Fields that add nothing to a prompt but their own text.
const CLOSED_FIELDS: [&str; 8] =
    ["messages", "system", "tools", "tool_choice", "stop_sequences", "output_config", "output_format", "cache_control"];
/// Members of a tool that the caller runs.
const TOOL_FIELDS: [&str; 9] =
    ["type", "name", "description", "input_schema", "strict", "cache_control", "defer_loading", "eager_input_streaming", "input_examples"];

/// The size of a prompt.
#[derive(Debug, Clone, Copy)]
pub struct Prompt {
    /// An upper bound of its tokens without its images; `None` if it contains anything but text and images.
    pub tokens_max: Option<u64>,
    pub images: u64,
    /// The bytes of its text.
    pub text_bytes: u64,
}

/// The sum over the messages of a request.
struct Tally {
    messages: u64,
    has_roles: bool,
    images: u64,
    /// The bytes of images.
    image_bytes: u64,
    /// The bytes of content that is neither text nor an image.
    other_bytes: u64,
    is_closed: bool,
}

/// Measures the prompt of a request. A token stands for at least one byte, and a message as JSON is longer than in a template.
///
/// # Errors
/// Fails if the messages are missing or have a wrong shape.
pub fn measure(fields: &Fields<'_>) -> Result<Prompt, RequestError> {
    let wrong = |message: &str| RequestError::Field { field: "messages", message: format!("Invalid 'messages': {message}.") };
    let raw = fields.get("messages").ok_or_else(|| wrong("it is required"))?;
    let mut all = Tally { messages: 0, has_roles: true, images: 0, image_bytes: 0, other_bytes: 0, is_closed: true };
    let mut are_objects = true;
    let read = each(raw, |message| match object(message) {
        Some(message) => all.message(&message),
        None => are_objects = false,
    });
    if read.is_none() || !are_objects {
        return Err(wrong("it must be an array of objects, each with a 'role'"));
    }
    if all.messages == 0 {
        return Err(wrong("it must have at least one message"));
    }
    if !all.has_roles {
        return Err(wrong("each message must have a 'role'"));
    }
    let tools = tools(fields);
    let is_closed = all.is_closed && tools.is_some() && system_is_text(fields) && fields_are_closed(fields);
    let bytes = sent_bytes(fields).saturating_sub(all.image_bytes);
    let template = TEMPLATE_TOKENS + tools.unwrap_or(0) + all.messages.saturating_mul(MESSAGE_TOKENS);
    Ok(Prompt {
        tokens_max: is_closed.then(|| bytes.saturating_add(template)),
        images: all.images,
        text_bytes: bytes.saturating_sub(all.other_bytes),
    })
}

impl Tally {
    fn message(&mut self, message: &Fields<'_>) {
        self.messages += 1;
        self.has_roles &= message.get("role").is_some_and(|role| role.get().starts_with('"'));
        self.is_closed &= only(message, &["role", "content"]);
        if let Some(content) = message.get("content") {
            self.content(content, true);
        }
    }

    /// Adds content; `has_calls` is false inside the result of a tool.
    fn content(&mut self, content: &RawValue, has_calls: bool) {
        if content.get().starts_with('"') {
            return;
        }
        if each(content, |block| self.block(block, has_calls)).is_none() {
            self.other(content);
        }
    }

    fn other(&mut self, raw: &RawValue) {
        self.is_closed = false;
        self.other_bytes = self.other_bytes.saturating_add(length(raw));
    }

    fn block(&mut self, raw: &RawValue, has_calls: bool) {
        let Some(block) = object(raw) else { return self.other(raw) };
        let kind = text(&block, "type").unwrap_or_default();
        match kind.as_ref() {
            "text" if only(&block, &["type", "text", "citations", "cache_control"]) => {}
            "image" if is_image(&block) => {
                self.images += 1;
                self.image_bytes = self.image_bytes.saturating_add(length(raw));
            }
            "thinking" if has_calls && only(&block, &["type", "thinking", "signature"]) => {}
            "redacted_thinking" if has_calls && only(&block, &["type", "data"]) => {}
            "tool_use" if has_calls && only(&block, &["type", "id", "name", "input", "cache_control", "caller"]) => {}
            "tool_result" if has_calls && only(&block, &["type", "tool_use_id", "content", "is_error", "cache_control"]) => {
                if let Some(content) = given(&block, "content") {
                    self.content(content, false);
                }
            }
            _ => self.other(raw),
        }
    }
}

/// Returns whether a block is an image in its bytes or by its address, and nothing else.
fn is_image(block: &Fields<'_>) -> bool {
    let is_source = |source: &Fields<'_>| match text(source, "type").as_deref() {
        Some("base64") => {
            only(source, &["type", "media_type", "data"]) && text(source, "media_type").is_some_and(|mime| mime.starts_with("image/"))
        }
        Some("url") => only(source, &["type", "url"]),
        _ => false,
    };
    only(block, &["type", "source", "cache_control"]) && block.get("source").and_then(object).as_ref().is_some_and(is_source)
}

/// Returns the tokens that tools add by themselves; `None` if one of them is run by the provider, or brings text of its own.
fn tools(fields: &Fields<'_>) -> Option<u64> {
    let Some(raw) = given(fields, "tools") else { return Some(0) };
    let (mut is_closed, mut tokens) = (true, 0);
    each(raw, |tool| {
        tokens = TOOLS_TOKENS;
        is_closed &= object(tool).is_some_and(|tool| {
            only(&tool, &TOOL_FIELDS) && given(&tool, "type").is_none_or(|kind| string(kind).is_some_and(|kind| kind == "custom"))
        });
    })?;
    is_closed.then_some(tokens)
}

fn system_is_text(fields: &Fields<'_>) -> bool {
    let Some(raw) = given(fields, "system") else { return true };
    let mut is_text = true;
    let read = each(raw, |block| {
        is_text &= object(block).is_some_and(|block| {
            text(&block, "type").is_some_and(|kind| kind == "text") && only(&block, &["type", "text", "citations", "cache_control"])
        });
    });
    raw.get().starts_with('"') || (read.is_some() && is_text)
}

/// Returns whether no field makes the provider look elsewhere. A field that nobody knows may do so.
fn fields_are_closed(fields: &Fields<'_>) -> bool {
    let is_known = |name: &str| SETTINGS.contains(&name) || CLOSED_FIELDS.contains(&name) || OWN_FIELDS.contains(&name);
    fields.0.iter().all(|(name, raw)| is_known(name) || matches!(raw.get(), "null" | "false" | "[]"))
}

/// Returns the bytes of everything that is sent, except short settings.
fn sent_bytes(fields: &Fields<'_>) -> u64 {
    let counts = |name: &str, raw: &RawValue| {
        let is_setting = SETTINGS.contains(&name) && raw.get().len() <= SETTING_BYTES_MAX;
        !is_setting && !OWN_FIELDS.contains(&name)
    };
    fields.0.iter().filter(|(name, raw)| counts(name, raw)).map(|(_, raw)| u64::try_from(raw.get().len()).unwrap_or(u64::MAX)).sum()
}

/// Returns the bound of a prompt, which is at most `by_bytes`, with the plain texts of its messages counted by `count`.
pub fn counted(fields: &Fields<'_>, by_bytes: u64, count: impl Fn(&str) -> u64) -> Option<u64> {
    let mut saved = 0_u64;
    let mut text = |raw: &RawValue| {
        if let Some(text) = string(raw) {
            saved = saved.saturating_add(length(raw).saturating_sub(count(&text)));
        }
    };
    each(fields.get("messages")?, |message| {
        let Some(content) = object(message).and_then(|message| message.get("content")) else { return };
        if content.get().starts_with('"') {
            return text(content);
        }
        each(content, |block| {
            if let Some(raw) = plain_text(block) {
                text(raw);
            }
        });
    })?;
    Some(by_bytes.saturating_sub(saved))
}

/// Returns the text of a block that has nothing else.
fn plain_text(block: &RawValue) -> Option<&RawValue> {
    let block = object(block).filter(|block| only(block, &["type", "text"]))?;
    block.get("text").filter(|_| block.get("type").is_some_and(|kind| kind.get() == "\"text\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(body: &str) -> Prompt {
        measure(&Fields::parse(body.as_bytes()).unwrap()).unwrap()
    }

    fn of_block(block: &str) -> Option<u64> {
        prompt(&format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#)).tokens_max
    }

    #[test]
    fn the_bound_counts_bytes_and_the_template() {
        let messages = r#"[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]"#;
        let body = format!(r#"{{"model":"m","max_tokens":5,"metadata":{{"user_id":"u"}},"system":"sys","messages":{messages}}}"#);
        let bytes = u64::try_from(messages.len() + r#""sys""#.len()).unwrap();
        assert_eq!(prompt(&body).tokens_max, Some(bytes + 64 + 16));
        assert_eq!(prompt(&body).text_bytes, bytes);
        let fields = Fields::parse(body.as_bytes()).unwrap();
        assert_eq!(counted(&fields, bytes + 80, |_| 1), Some(bytes + 80 - 2));
        let tools = body.replace("\"system\"", r#""tools":[{"name":"f","input_schema":{}}],"system""#);
        assert_eq!(prompt(&tools).tokens_max, Some(bytes + 80 + 600 + 32));
    }

    #[test]
    fn images_are_counted_and_their_bytes_are_not() {
        let image = r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}"#;
        let with = prompt(&format!(
            r#"{{"messages":[{{"role":"user","content":[{image},{{"type":"tool_result","tool_use_id":"a","content":[{image}]}}]}}]}}"#
        ));
        assert_eq!(with.images, 2);
        assert!(with.tokens_max.unwrap() < 64 + 8 + 150 && with.text_bytes < 150, "{with:?}");
        for block in [
            image.replace("\"source\":", "\"source\":{},\"source\":"),
            image.replace("image/png", "application/pdf"),
            image.replace("}}", "},\"transformations\":{}}"),
            r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#.to_owned(),
        ] {
            assert_eq!(of_block(&block), None, "{block}");
        }
    }

    #[test]
    fn the_unknown_has_no_bound() {
        for block in [
            r#"{"type":"document","source":{"type":"url","url":"https://x"}}"#,
            r#"{"type":"search_result","source":"s","title":"t","content":[]}"#,
            r#"{"type":"container_upload","file_id":"f"}"#,
            r#"{"type":"text","text":"x","new":1}"#,
            r#"{"type":"tool_result","tool_use_id":"a","content":[{"type":"tool_use","id":"a","name":"b","input":{}}]}"#,
            "3",
        ] {
            assert_eq!(of_block(block), None, "{block}");
        }
        assert!(
            of_block(r#"{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"a","name":"b","input":{}}"#).is_some()
        );
        for field in [
            r#""container":"c""#,
            r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#,
            r#""tools":[{"type":"bash_20250124","name":"bash"}]"#,
            r#""mcp_servers":[{"url":"https://x"}]"#,
            r#""system":[{"type":"image"}]"#,
            r#""new":1"#,
        ] {
            let body = format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{field}}}"#);
            assert_eq!(prompt(&body).tokens_max, None, "{field}");
        }
        assert_eq!(prompt(r#"{"messages":[{"role":"user","content":"x","id":"1"}]}"#).tokens_max, None);
    }
}
