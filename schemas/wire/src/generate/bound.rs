//! The bound of a prompt: its bytes, unless it contains anything that is not text, images or functions.

use serde_json::value::RawValue;

use super::request::{CONFIG, wrong};
use super::spelling::{each, length, named, object, text};
use crate::call::RequestError;
use crate::chat::request::OWN_FIELDS;
use crate::fields::{Element, Fields};

/// Tokens that a model's template adds to the prompt.
const TEMPLATE_TOKENS: u64 = 64;
/// Tokens that a template puts around a turn.
const TURN_TOKENS: u64 = 8;
/// The maximum size of a setting in bytes; a longer one counts towards the prompt.
const SETTING_BYTES_MAX: u64 = 512;
/// Fields beside the prompt that add nothing from elsewhere.
const CLOSED_FIELDS: [&str; 5] = ["toolConfig", "safetySettings", "labels", "serviceTier", "store"];
/// Settings that add nothing from elsewhere. Short values do not count.
const SETTINGS: [&str; 20] = [
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "candidateCount",
    "stopSequences",
    "responseLogprobs",
    "logprobs",
    "presencePenalty",
    "frequencyPenalty",
    "seed",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "thinkingConfig",
    "speechConfig",
    "imageConfig",
    "audioTimestamp",
    "enableEnhancedCivicAnswers",
];

/// The bound of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prompt {
    /// The bound in tokens without images; `None` if there is none.
    pub tokens_max: Option<u64>,
    pub images: u64,
    /// The bytes of text, for an estimate.
    pub text_bytes: u64,
}

/// The content seen so far.
#[derive(Default)]
struct Seen {
    turns: u64,
    images: u64,
    image_bytes: u64,
    /// The bytes of content that is neither text nor an image.
    other_bytes: u64,
    /// Whether there is content without a bound.
    is_open: bool,
}

/// Returns the bound of a request's prompt.
///
/// # Errors
/// Fails if the request has no contents.
pub fn prompt(fields: &Fields<'_>, config: &Fields<'_>) -> Result<Prompt, RequestError> {
    let contents = fields.get("contents").ok_or_else(|| wrong("contents", "it is required"))?;
    let mut seen = Seen::default();
    if each(contents, |content| seen.content(content)).is_err() {
        return Err(wrong("contents", "it must be an array of objects, each with 'parts'"));
    }
    if seen.turns == 0 {
        return Err(wrong("contents", "it must have at least one content"));
    }
    if let Some(system) = fields.get("systemInstruction") {
        match serde_json::from_str(system.get()) {
            Ok(content) => seen.content(content),
            Err(_) => seen.other(length(system)),
        }
    }
    let mut bytes = 0_u64;
    let mut is_closed = !seen.is_open;
    for (name, raw) in &fields.0 {
        match name.as_ref() {
            "model" => {}
            name if OWN_FIELDS.contains(&name) => {}
            CONFIG => {
                let (settings, is_known) = settings(config, seen.images > 0);
                bytes = bytes.saturating_add(settings);
                is_closed &= is_known;
            }
            name => {
                bytes = bytes.saturating_add(length(raw));
                is_closed &= match name {
                    "contents" | "systemInstruction" => true,
                    "tools" => are_functions(raw),
                    name => CLOSED_FIELDS.contains(&name),
                };
            }
        }
    }
    let bytes = bytes.saturating_sub(seen.image_bytes);
    let template = TEMPLATE_TOKENS.saturating_add(seen.turns.saturating_mul(TURN_TOKENS));
    Ok(Prompt {
        tokens_max: is_closed.then(|| bytes.saturating_add(template)),
        images: seen.images,
        text_bytes: bytes.saturating_sub(seen.other_bytes),
    })
}

/// Returns the bytes of the settings that count, and whether all of them are known.
fn settings(config: &Fields<'_>, has_images: bool) -> (u64, bool) {
    let mut bytes = 0_u64;
    let mut is_known = true;
    for (name, raw) in &config.0 {
        let is_short = length(raw) <= SETTING_BYTES_MAX && !raw.get().starts_with(['{', '[']);
        // The resolution changes the tokens of an image.
        let is_setting = SETTINGS.contains(&name.as_ref()) || (name == "mediaResolution" && !has_images);
        is_known &= is_setting;
        if !(is_setting && is_short) {
            bytes = bytes.saturating_add(length(raw));
        }
    }
    (bytes, is_known)
}

/// Returns whether all tools are functions that the caller runs.
fn are_functions(tools: &RawValue) -> bool {
    let mut are_all = true;
    let is_function = |tool: Fields<'_>| named(tool).is_some_and(|tool| tool.0.iter().all(|(name, _)| name == "functionDeclarations"));
    each(tools, |tool| are_all &= is_function(tool)).is_ok() && are_all
}

impl Seen {
    fn content(&mut self, content: Fields<'_>) {
        self.turns += 1;
        let bytes = object_bytes(&content);
        let Some(content) = named(content) else { return self.other(bytes) };
        for (name, raw) in &content.0 {
            match name.as_ref() {
                "role" => {}
                "parts" if each(raw, |part| self.part(part)).is_ok() => {}
                _ => self.other(length(raw)),
            }
        }
    }

    fn part(&mut self, part: Element<'_>) {
        let Element::Object(part) = part else { return self.other(0) };
        let bytes = object_bytes(&part);
        let Some(part) = named(part) else { return self.other(bytes) };
        if is_image(&part) {
            self.images += 1;
            self.image_bytes = self.image_bytes.saturating_add(bytes);
        } else if !is_text(&part) {
            self.other(bytes);
        }
    }

    fn other(&mut self, bytes: u64) {
        self.is_open = true;
        self.other_bytes = self.other_bytes.saturating_add(bytes);
    }
}

/// Returns the bytes of an object without white space and escapes in names: never more than the caller sent.
fn object_bytes(object: &Fields<'_>) -> u64 {
    let members: usize = object.0.iter().map(|(name, raw)| name.len() + raw.get().len() + r#""":,"#.len()).sum();
    u64::try_from(members.saturating_sub(1) + "{}".len()).unwrap_or(u64::MAX)
}

/// Returns whether a part has exactly the shape of an image.
fn is_image(part: &Fields<'_>) -> bool {
    let [(name, value)] = part.0.as_slice() else { return false };
    let address = match name.as_ref() {
        "inlineData" => "data",
        "fileData" => "fileUri",
        _ => return false,
    };
    let Some(image) = object(value) else { return false };
    let is_string = |name: &str| image.get(name).and_then(text);
    image.0.len() == 2 && is_string(address).is_some() && is_string("mimeType").is_some_and(|mime| is_image_type(&mime))
}

/// Returns whether a media type is one of images.
fn is_image_type(mime: &str) -> bool {
    mime.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("image/"))
}

/// Returns whether a part is text, a call, or a result without media.
fn is_text(part: &Fields<'_>) -> bool {
    let known = |value: &RawValue, names: &[&str]| {
        object(value).is_some_and(|inner| inner.0.iter().all(|(name, _)| names.contains(&name.as_ref())))
    };
    part.0.iter().all(|(name, value)| match name.as_ref() {
        "text" | "thoughtSignature" => value.get().starts_with('"'),
        "thought" => matches!(value.get(), "true" | "false"),
        "functionCall" => known(value, &["id", "name", "args"]),
        "functionResponse" => known(value, &["id", "name", "response"]),
        _ => false,
    })
}

/// Returns the bound with the plain texts of turns counted by `count`.
pub fn counted(fields: &Fields<'_>, by_bytes: u64, count: impl Fn(&str) -> u64) -> u64 {
    let mut tokens = by_bytes;
    let mut part = |part: Element<'_>| {
        let Element::Object(part) = part else { return };
        let [(name, raw)] = part.0.as_slice() else { return };
        if let Some(text) = text(raw).filter(|_| name == "text") {
            tokens = tokens.saturating_sub(length(raw)).saturating_add(count(&text));
        }
    };
    let mut content = |content: Fields<'_>| {
        if let Some(parts) = named(content).and_then(|content| content.get("parts")) {
            drop(each(parts, &mut part));
        }
    };
    for name in ["contents", "systemInstruction"] {
        if let Some(raw) = fields.get(name) {
            // Bytes count for what cannot be read.
            drop(each(raw, &mut content));
        }
    }
    tokens.min(by_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Addressed;
    use crate::generate::request::read;

    fn bound(body: &str) -> Prompt {
        let address = Addressed { model: Some("m"), stream: false, is_count: false };
        let (head, _) = read(body.as_bytes(), &address).unwrap();
        Prompt { tokens_max: head.prompt_tokens_max, images: head.images, text_bytes: head.prompt_text_bytes }
    }

    fn part(part: &str) -> Prompt {
        bound(&format!(r#"{{"contents":[{{"role":"user","parts":[{part}]}}]}}"#))
    }

    #[test]
    fn text_and_functions_have_a_bound() {
        for kind in [
            r#"{"text":"x"}"#,
            r#"{"text":"x","thought":true,"thought_signature":"YQ=="}"#,
            r#"{"functionCall":{"name":"f","args":{"a":[1]}},"thoughtSignature":"YQ=="}"#,
            r#"{"function_response":{"name":"f","response":{"output":"x"}}}"#,
        ] {
            let contents = format!(r#"[{{"role":"user","parts":[{kind}]}}]"#).len() as u64;
            assert_eq!(
                part(kind),
                Prompt { tokens_max: Some(contents + TEMPLATE_TOKENS + TURN_TOKENS), images: 0, text_bytes: contents },
                "{kind}"
            );
        }
    }

    #[test]
    fn images_count_apart() {
        let empty = part("").text_bytes;
        for kind in [
            r#"{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}}"#,
            r#"{"inline_data":{"mime_type":"IMAGE/PNG","data":"iVBORw0KGgo="}}"#,
            r#"{"fileData":{"fileUri":"https://x/y.png","mimeType":"image/png"}}"#,
        ] {
            let prompt = part(kind);
            assert_eq!((prompt.images, prompt.text_bytes, prompt.tokens_max), (1, empty, Some(empty + 72)), "{kind}");
        }
    }

    #[test]
    fn anything_else_has_none() {
        for kind in [
            r#"{"inlineData":{"mimeType":"application/pdf","data":"JVBERi0xLjQK"}}"#,
            r#"{"inlineData":{"mimeType":"audio/wav","data":"aGk="}}"#,
            r#"{"inlineData":{"mimeType":"image/png","mime_type":"audio/wav","data":"aGk="}}"#,
            r#"{"inlineData":{"mimeType":"image/png","data":"aGk=","other":"x"}}"#,
            r#"{"inlineData":{"mimeType":"image/png","data":"aGk="},"mediaResolution":{"level":"MEDIA_RESOLUTION_HIGH"}}"#,
            r#"{"fileData":{"fileUri":"https://youtu.be/x"}}"#,
            r#"{"executableCode":{"language":"PYTHON","code":"1"}}"#,
            r#"{"text":"x","what_comes_next":1}"#,
            r#"{"functionResponse":{"name":"f","response":{},"parts":[{"inlineData":{"mimeType":"image/png","data":"aGk="}}]}}"#,
            r#"{"text":"x","text":"y"}"#,
            "7",
        ] {
            assert_eq!(part(kind).tokens_max, None, "{kind}");
        }
        let text = r#""contents":[{"parts":[{"text":"x"}]}]"#;
        let image = r#""contents":[{"parts":[{"inlineData":{"mimeType":"image/png","data":"aGk="}}]}]"#;
        for body in [
            format!(r#"{{{text},"tools":[{{"googleSearch":{{}}}}]}}"#),
            format!(r#"{{{text},"tools":[{{"functionDeclarations":[],"codeExecution":{{}}}}]}}"#),
            format!(r#"{{{text},"cachedContent":"cachedContents/x"}}"#),
            format!(r#"{{{text},"whatComesNext":1}}"#),
            format!(r#"{{{text},"generationConfig":{{"whatComesNext":1}}}}"#),
            format!(r#"{{{text},"systemInstruction":"x"}}"#),
            format!(r#"{{{text},"systemInstruction":{{"parts":[{{"fileData":{{}}}}]}}}}"#),
            format!(r#"{{{image},"generationConfig":{{"mediaResolution":"MEDIA_RESOLUTION_HIGH"}}}}"#),
            r#"{"contents":[{"parts":[{"text":"x"}],"other":1}]}"#.to_owned(),
        ] {
            assert_eq!(bound(&body).tokens_max, None, "{body}");
        }
        assert!(bound(&format!(r#"{{{text},"tools":[{{"function_declarations":[{{"name":"f"}}]}}]}}"#)).tokens_max.is_some());
    }

    #[test]
    fn settings_do_not_count_and_schemas_do() {
        let text = r#""contents":[{"parts":[{"text":"x"}]}]"#;
        let with = |config: &str| bound(&format!(r#"{{{text},"generationConfig":{config}}}"#)).tokens_max.unwrap();
        let plain = bound(&format!("{{{text}}}")).tokens_max.unwrap();
        assert_eq!(with(r#"{"temperature":0.5,"maxOutputTokens":5,"responseMimeType":"application/json"}"#), plain);
        assert_eq!(with(r#"{"responseJsonSchema":{"a":1}}"#), plain + 7);
        assert_eq!(bound(&format!(r#"{{{text},"models":["m"]}}"#)).tokens_max, Some(plain), "they are not sent");
    }

    #[test]
    fn plain_text_counts_by_its_tokens() {
        let text = "word ".repeat(50);
        let body = format!(r#"{{"contents":{{"parts":{{"text":"{text}"}}}},"systemInstruction":{{"parts":[{{"text":"{text}"}}]}}}}"#);
        let address = Addressed { model: Some("m"), stream: false, is_count: false };
        let (head, request) = read(body.as_bytes(), &address).unwrap();
        let bytes = head.prompt_tokens_max.unwrap();
        assert_eq!(request.prompt_tokens_counted(bytes, |_| 1), Some(bytes - 2 * 252 + 2));
        assert_eq!(request.prompt_tokens_counted(bytes, |_| 100_000), Some(bytes));
    }
}
