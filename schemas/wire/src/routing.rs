//! The gateway's own fields that choose among models and providers, and the parameters that a provider must support. Both are the same for
//! every format.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::call::{Format, RequestError};
use crate::fields::Fields;
use crate::generate;

/// The maximum number of patterns in a plugin's `allowed_models`.
const PATTERNS_MAX: usize = 100;
/// The maximum number of characters of a conversation's name.
const SESSION_CHARS_MAX: usize = 256;

/// A caller's choice among models and providers.
#[derive(Debug, Clone, Default)]
pub struct Routing {
    /// The object `provider` as the caller wrote it; `None` if it is absent or empty.
    pub provider: Option<Box<RawValue>>,
    /// The patterns of models among which `auto` chooses, from the plugin `auto-router`; `None` for all.
    pub auto_models: Option<Vec<String>>,
    /// The conversation that the request belongs to, in the caller's words.
    pub session: Option<String>,
}

/// A plugin of OpenRouter's API. Sources: its documents on the auto router, context compression and web search.
#[derive(Deserialize)]
struct Plugin {
    id: String,
    enabled: Option<bool>,
    allowed_models: Option<Vec<String>>,
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

impl Routing {
    /// Reads the fields of a request.
    ///
    /// # Errors
    /// Fails if a field asks for a function that the gateway does not have; the error names it.
    pub fn read(fields: &Fields<'_>) -> Result<Self, RequestError> {
        let given = |name| fields.get(name).filter(|raw| !is_empty(raw));
        if given("transforms").is_some() {
            return Err(wrong("transforms", "it is not supported: the gateway sends every message; leave it out, or send []"));
        }
        let provider = given("provider").map(RawValue::to_owned);
        let auto_models = given("plugins").map(plugins).transpose()?.flatten();
        let session: Option<String> = fields.read("session_id").map_err(|_| wrong("session_id", "it must be a string"))?;
        if session.as_ref().is_some_and(|session| session.chars().count() > SESSION_CHARS_MAX) {
            return Err(wrong("session_id", "it must have at most 256 characters"));
        }
        Ok(Self { provider, auto_models, session })
    }
}

fn wrong(field: &'static str, message: &str) -> RequestError {
    RequestError::Field { field, message: format!("Invalid '{field}': {message}.") }
}

/// Returns whether a value asks for nothing: null, an empty object or an empty array.
fn is_empty(raw: &RawValue) -> bool {
    raw.get() == "null" || raw.get().trim_matches(['{', '}', '[', ']']).trim_ascii().is_empty()
}

/// Returns the patterns of the plugin `auto-router`. A plugin that is switched off is accepted, whatever it is.
fn plugins(raw: &RawValue) -> Result<Option<Vec<String>>, RequestError> {
    let plugins: Vec<Plugin> =
        serde_json::from_str(raw.get()).map_err(|_| wrong("plugins", "it must be an array of objects with an 'id'"))?;
    let mut patterns = None;
    for plugin in plugins.into_iter().filter(|plugin| plugin.enabled != Some(false)) {
        if plugin.id != "auto-router" || !plugin.others.is_empty() {
            let supported = "the supported plugin is {\"id\": \"auto-router\", \"allowed_models\": [pattern]}; leave others out, or switch \
                             them off by \"enabled\": false";
            return Err(wrong("plugins", &format!("'{}' is not supported like this; {supported}", plugin.id)));
        }
        if plugin.allowed_models.as_ref().is_some_and(|patterns| patterns.len() > PATTERNS_MAX) {
            return Err(wrong("plugins", "'allowed_models' must have at most 100 patterns"));
        }
        patterns = plugin.allowed_models.or(patterns);
    }
    Ok(patterns)
}

/// Request fields and the parameters of model lists that they need, the same in Chat, Responses and Messages.
const PARAMETERS: [(&str, &str); 31] = [
    ("frequency_penalty", "frequency_penalty"),
    ("include_reasoning", "include_reasoning"),
    ("logit_bias", "logit_bias"),
    ("logprobs", "logprobs"),
    ("max_completion_tokens", "max_tokens"),
    ("max_output_tokens", "max_tokens"),
    ("max_tokens", "max_tokens"),
    ("min_p", "min_p"),
    ("output_config", "structured_outputs"),
    ("output_format", "structured_outputs"),
    ("parallel_tool_calls", "parallel_tool_calls"),
    ("presence_penalty", "presence_penalty"),
    ("reasoning", "reasoning"),
    ("reasoning_effort", "reasoning"),
    ("repetition_penalty", "repetition_penalty"),
    ("seed", "seed"),
    ("stop", "stop"),
    ("stop_sequences", "stop"),
    ("structured_outputs", "structured_outputs"),
    ("temperature", "temperature"),
    ("thinking", "reasoning"),
    ("tool_choice", "tool_choice"),
    ("tools", "tools"),
    ("top_a", "top_a"),
    ("top_k", "top_k"),
    ("top_logprobs", "top_logprobs"),
    ("top_p", "top_p"),
    ("verbosity", "verbosity"),
    ("web_search_options", "web_search_options"),
    ("dimensions", "dimensions"),
    ("encoding_format", "encoding_format"),
];
/// The same for Google's settings.
const SETTINGS: [(&str, &str); 14] = [
    ("frequencyPenalty", "frequency_penalty"),
    ("logprobs", "top_logprobs"),
    ("maxOutputTokens", "max_tokens"),
    ("presencePenalty", "presence_penalty"),
    ("responseJsonSchema", "structured_outputs"),
    ("responseLogprobs", "logprobs"),
    ("responseMimeType", "response_format"),
    ("responseSchema", "structured_outputs"),
    ("seed", "seed"),
    ("stopSequences", "stop"),
    ("temperature", "temperature"),
    ("thinkingConfig", "reasoning"),
    ("topK", "top_k"),
    ("topP", "top_p"),
];

/// Returns the parameters that a request uses, in the words of model lists, sorted.
pub(crate) fn parameters(format: Format, fields: &Fields<'_>) -> Vec<&'static str> {
    let mut used: Vec<&'static str> = match format {
        Format::Chat | Format::Responses | Format::Messages | Format::Embeddings(_) => {
            let mut used = named(fields, &PARAMETERS);
            let text = fields.get("text").and_then(|raw| Fields::parse(raw.get().as_bytes()).ok());
            let shape = fields.get("response_format").or_else(|| text?.get("format"));
            used.extend(shape.map(response_format).unwrap_or_default());
            used
        }
        Format::Generate => {
            let fields = generate::canonical(fields.clone());
            let config = fields.get("generationConfig").and_then(|raw| Fields::parse(raw.get().as_bytes()).ok());
            let mut used = config.map(|config| named(&generate::canonical(config), &SETTINGS)).unwrap_or_default();
            used.extend(named(&fields, &[("tools", "tools"), ("toolConfig", "tool_choice")]));
            used
        }
    };
    used.sort_unstable();
    used.dedup();
    used
}

fn named(fields: &Fields<'_>, known: &[(&str, &'static str)]) -> Vec<&'static str> {
    let is_used = |name: &str| fields.get(name).is_some_and(|raw| !matches!(raw.get(), "null" | "[]" | "{}"));
    known.iter().filter(|(name, _)| is_used(name)).map(|(_, parameter)| *parameter).collect()
}

/// Returns the parameters that the shape of an answer needs.
fn response_format(raw: &RawValue) -> Vec<&'static str> {
    #[derive(Deserialize)]
    struct Shape<'a> {
        r#type: Option<&'a str>,
    }
    match serde_json::from_str(raw.get()).ok().and_then(|Shape { r#type }| r#type) {
        Some("json_schema") => vec!["response_format", "structured_outputs"],
        Some("text") | None => Vec::new(),
        Some(_) => vec!["response_format"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Addressed, Call};

    fn routing(text: &str) -> Result<Routing, String> {
        Routing::read(&Fields::parse(text.as_bytes()).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn fields_that_ask_for_nothing_are_no_choice() {
        let none = routing(r#"{"provider":{ },"plugins":[],"transforms":null}"#).unwrap();
        assert!(none.provider.is_none() && none.auto_models.is_none());
        assert!(routing(r#"{"plugins":[{"id":"web","enabled":false,"max_results":3}]}"#).unwrap().auto_models.is_none());
    }

    #[test]
    fn functions_that_are_missing_are_refused_by_name() {
        for (text, says) in [
            (r#"{"transforms":["middle-out"]}"#, "'transforms'"),
            (r#"{"plugins":[{"id":"web"}]}"#, "'web' is not supported"),
            (r#"{"plugins":[{"id":"auto-router","max":1}]}"#, "auto-router"),
            (r#"{"plugins":{"id":"web"}}"#, "array"),
        ] {
            assert!(routing(text).unwrap_err().contains(says), "{text}");
        }
    }

    #[test]
    fn the_auto_router_has_patterns() {
        let routing = routing(r#"{"plugins":[{"id":"auto-router","allowed_models":["anthropic/*"]}],"provider":{"zdr":true}}"#).unwrap();
        assert_eq!(routing.auto_models.unwrap(), ["anthropic/*"]);
        assert_eq!(routing.provider.unwrap().get(), r#"{"zdr":true}"#);
    }

    #[test]
    fn parameters_have_one_name_in_every_format() {
        let chat = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1,"max_completion_tokens":5,"tools":[{"type":"function","function":{"name":"f"}}],"seed":null,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}}}"#;
        let messages = r#"{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1,"max_tokens":5,"stop_sequences":["x"]}"#;
        let responses = r#"{"model":"m","input":"x","text":{"format":{"type":"json_object"}},"reasoning":{"effort":"low"}}"#;
        let generate = r#"{"contents":[{"parts":[{"text":"x"}]}],"generation_config":{"top_k":5,"maxOutputTokens":5}}"#;
        for (format, body, expected) in [
            (Format::Chat, chat, &["max_tokens", "response_format", "structured_outputs", "temperature", "tools"][..]),
            (Format::Messages, messages, &["max_tokens", "stop", "temperature"]),
            (Format::Responses, responses, &["reasoning", "response_format"]),
            (Format::Generate, generate, &["max_tokens", "top_k"]),
        ] {
            let address = Addressed { model: Some("m"), ..Addressed::default() };
            assert_eq!(Call::read(format, body.as_bytes(), &address).unwrap().parameters(), expected, "{format:?}");
        }
    }
}
