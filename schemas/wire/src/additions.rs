//! Additions to the bytes of a request that the caller leaves out: a default model, and reasoning.

use serde_json::value::RawValue;

use crate::call::Format;
use crate::fields::{Edit, Fields, quoted};

/// The members by which callers set reasoning themselves, at the top level of a body.
const REASONING: [&str; 5] = ["reasoning", "reasoning_effort", "thinking", "include_reasoning", "output_config"];
/// Both spellings of Google's settings.
const CONFIGS: [&str; 2] = ["generationConfig", "generation_config"];
const THINKING_CONFIGS: [&str; 2] = ["thinkingConfig", "thinking_config"];
/// The least budget for Anthropic's reasoning, and the greatest that is asked for. Source: Anthropic's guide "Extended thinking".
const BUDGET_MIN: u64 = 1_024;
const BUDGET_MAX: u64 = 16_000;

/// Returns a body with a model; `None` if it names one, or is no object.
#[must_use]
pub fn with_model(body: &[u8], model: &str) -> Option<Vec<u8>> {
    let fields = Fields::parse(body).ok()?;
    if is_given(&fields, "model") || is_given(&fields, "models") {
        return None;
    }
    Some(written(&fields, "model", &quoted(model)))
}

/// Returns a body that asks for reasoning; `None` if the caller has set reasoning, if the answer is too short for it, or if the format has
/// none. `output_tokens_max` is the caller's bound on the answer.
#[must_use]
pub fn with_reasoning(format: Format, body: &[u8], output_tokens_max: Option<u64>) -> Option<Vec<u8>> {
    let fields = Fields::parse(body).ok()?;
    if REASONING.iter().any(|name| is_given(&fields, name)) {
        return None;
    }
    match format {
        Format::Chat => Some(written(&fields, "reasoning_effort", "\"medium\"")),
        Format::Responses => Some(written(&fields, "reasoning", "{\"effort\":\"medium\"}")),
        Format::Messages => {
            let budget = (output_tokens_max? / 2).clamp(BUDGET_MIN, BUDGET_MAX);
            let thinking = format!("{{\"type\":\"enabled\",\"budget_tokens\":{budget}}}");
            (output_tokens_max? > budget).then(|| written(&fields, "thinking", &thinking))
        }
        Format::Generate => {
            let name = CONFIGS.into_iter().find(|name| is_given(&fields, name)).unwrap_or(CONFIGS[0]);
            let config = fields.get(name).map_or("{}", RawValue::get);
            let config = Fields::parse(config.as_bytes()).unwrap_or_else(|_| Fields(Vec::new()));
            if THINKING_CONFIGS.iter().any(|name| is_given(&config, name)) {
                return None;
            }
            // The model decides how long it thinks.
            let config = written(&config, THINKING_CONFIGS[0], "{\"thinkingBudget\":-1}");
            Some(written(&fields, name, &String::from_utf8(config).ok()?))
        }
        Format::Embeddings(_) => None,
    }
}

fn is_given(fields: &Fields<'_>, name: &str) -> bool {
    fields.get(name).is_some_and(|raw| raw.get() != "null")
}

fn written(fields: &Fields<'_>, name: &str, value: &str) -> Vec<u8> {
    let mut body = Vec::new();
    fields.write(&[(name, Edit::Put(value))], &mut body);
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: Option<Vec<u8>>) -> String {
        body.map_or_else(|| "none".to_owned(), |body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn only_a_body_without_a_model_gets_one() {
        assert_eq!(text(with_model(br#"{"model":null,"x":1}"#, "a/\"b")), r#"{"model":"a/\"b","x":1}"#);
        assert_eq!(text(with_model(br#"{"x":1}"#, "a/b")), r#"{"x":1,"model":"a/b"}"#);
        for body in [r#"{"model":"c"}"#, r#"{"models":["c"]}"#, r#"{"model":3}"#, "[]", "x"] {
            assert!(with_model(body.as_bytes(), "a/b").is_none(), "{body}");
        }
    }

    #[test]
    fn reasoning_is_asked_for_in_each_format_unless_the_caller_sets_it() {
        for (format, body, cap, expected) in [
            (Format::Chat, r#"{"a":1}"#, None, r#"{"a":1,"reasoning_effort":"medium"}"#),
            (Format::Chat, r#"{"reasoning":{"enabled":false}}"#, None, "none"),
            (Format::Responses, "{}", None, r#"{"reasoning":{"effort":"medium"}}"#),
            (Format::Messages, "{}", Some(5_000), r#"{"thinking":{"type":"enabled","budget_tokens":2500}}"#),
            (Format::Messages, "{}", Some(1_024), "none"),
            (Format::Messages, r#"{"thinking":{"type":"disabled"}}"#, Some(5_000), "none"),
            (Format::Generate, "{}", None, r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":-1}}}"#),
            (
                Format::Generate,
                r#"{"generation_config":{"topK":1}}"#,
                None,
                r#"{"generation_config":{"topK":1,"thinkingConfig":{"thinkingBudget":-1}}}"#,
            ),
            (Format::Generate, r#"{"generationConfig":{"thinking_config":{}}}"#, None, "none"),
        ] {
            assert_eq!(text(with_reasoning(format, body.as_bytes(), cap)), expected, "{body}");
        }
    }
}
