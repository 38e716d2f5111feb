//! A chat request, read into the neutral form.

use serde::de::DeserializeOwned;

use super::raw::{array, has_only, is_blank, object, object_of, text, text_of};
use super::{message, tools};
use crate::call::{Format, RequestError};
use crate::chat::request::{self as head, ChatBody, OWN_FIELDS, output_cap, wrong};
use crate::fields::Fields;
use crate::neutral::{Effort, Json, Level, OutputFormat, Request, Settings, Text};

/// Fields with a place in the neutral form.
const TYPED_FIELDS: [&str; 25] = [
    "model",
    "stream",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "n",
    "logprobs",
    "top_logprobs",
    "response_format",
    "verbosity",
    "reasoning_effort",
    "reasoning",
    "include_reasoning",
    "user",
    "service_tier",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
];
/// Values that say no more than an absent field. `None` stands for an empty array or object.
const DEFAULTS: [(&str, Option<&str>); 6] = [
    ("functions", None),
    ("logit_bias", None),
    ("modalities", Some("[\"text\"]")),
    ("min_p", Some("0")),
    ("top_a", Some("0")),
    ("repetition_penalty", Some("1")),
];

/// Reads the request.
///
/// # Errors
/// Fails if a field has a wrong value; the error names it.
pub fn read<'a>(body: &ChatBody<'a>) -> Result<Request<'a>, RequestError> {
    let fields = body.fields();
    let mut untyped = Vec::new();
    let mut request = Request::new(Format::Chat);
    request.turns = message::read(fields)?;
    request.tools = tools::read(fields)?;
    request.tool_choice = tools::read_choice(fields)?;
    request.parallel_tool_calls = value(fields, "parallel_tool_calls", "true or false")?;
    request.settings = settings(fields)?;
    match output(fields) {
        Some(output) => request.settings.output = output,
        None => untyped.push("response_format"),
    }
    reasoning(fields, &mut request.settings, &mut untyped)?;
    if request.settings.user.is_none() {
        request.settings.user = text_of(fields, "safety_identifier");
    } else {
        untyped.push("safety_identifier");
    }
    request.extras = extras(fields, &untyped);
    Ok(request)
}

/// Returns the fields that only Chat has, and those typed ones whose value is not known.
fn extras<'a>(fields: &Fields<'a>, untyped: &[&str]) -> Vec<(Text<'a>, Json<'a>)> {
    let is_extra = |name: &str| {
        let is_typed = TYPED_FIELDS.contains(&name) || name == "safety_identifier";
        (!is_typed || untyped.contains(&name)) && !OWN_FIELDS.contains(&name)
    };
    let is_default = |name: &str, raw: &str| {
        DEFAULTS.iter().any(|(field, default)| {
            *field == name && default.map_or_else(|| matches!(raw, "[]" | "{}"), |default| raw == default || raw == format!("{default}.0"))
        })
    };
    let members = fields.0.iter().filter(|(name, raw)| is_extra(name) && raw.get() != "null" && !is_default(name, raw.get()));
    members.map(|(name, raw)| (name.clone(), Json::from(*raw))).collect()
}

/// Returns the value of a field; `None` if it is absent or null.
fn value<T: DeserializeOwned>(fields: &Fields<'_>, name: &'static str, what: &str) -> Result<Option<T>, RequestError> {
    fields.read(name).map_err(|_| wrong(name, format_args!("it must be {what}")))
}

fn settings<'a>(fields: &Fields<'a>) -> Result<Settings<'a>, RequestError> {
    let number = |name| value(fields, name, "a number");
    let string = |name| match fields.get(name).filter(|raw| raw.get() != "null") {
        None => Ok(None),
        Some(raw) => text(raw).map(Some).ok_or_else(|| wrong(name, "it must be a string")),
    };
    Ok(Settings {
        output_tokens_max: output_cap(fields)?,
        temperature: number("temperature")?,
        top_p: number("top_p")?,
        top_k: number("top_k")?,
        stop: stop(fields)?,
        frequency_penalty: number("frequency_penalty")?,
        presence_penalty: number("presence_penalty")?,
        seed: number("seed")?,
        choices: head::number(fields, "n", "a whole number from 1 to 128")?.unwrap_or(1),
        logprobs: logprobs(fields)?,
        verbosity: string("verbosity")?,
        user: string("user")?,
        service_tier: string("service_tier")?,
        ..Settings::default()
    })
}

/// Reads one sequence or a list of them.
fn stop<'a>(fields: &Fields<'a>) -> Result<Vec<Text<'a>>, RequestError> {
    let Some(raw) = fields.get("stop").filter(|raw| raw.get() != "null") else { return Ok(Vec::new()) };
    let all = match text(raw) {
        Some(one) => Some(vec![one]),
        None => array(raw).and_then(|all| all.into_iter().map(text).collect()),
    };
    all.ok_or_else(|| wrong("stop", "it must be a string or an array of strings"))
}

/// Returns the number of alternatives for each token; `None` if no probabilities are asked for.
fn logprobs(fields: &Fields<'_>) -> Result<Option<u64>, RequestError> {
    let is_on = value::<bool>(fields, "logprobs", "true or false")?.unwrap_or(false);
    let count = head::number(fields, "top_logprobs", "a whole number from 0 to 20")?;
    match (is_on, count) {
        (true, count) => Ok(Some(count.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(wrong("top_logprobs", "it needs 'logprobs': true")),
    }
}

/// Reads the output's format; `None` if its shape is not known.
fn output<'a>(fields: &Fields<'a>) -> Option<OutputFormat<'a>> {
    let Some(raw) = fields.get("response_format").filter(|raw| raw.get() != "null") else { return Some(OutputFormat::Text) };
    let format = object(raw)?;
    match text_of(&format, "type")?.as_ref() {
        "text" if has_only(&format, &["type"]) => Some(OutputFormat::Text),
        "json_object" if has_only(&format, &["type"]) => Some(OutputFormat::Json),
        "json_schema" if has_only(&format, &["type", "json_schema"]) => {
            let schema =
                object_of(&format, "json_schema").filter(|schema| has_only(schema, &["name", "description", "schema", "strict"]))?;
            Some(OutputFormat::Schema {
                name: text_of(&schema, "name"),
                description: text_of(&schema, "description"),
                strict: schema.read("strict").ok()?,
                schema: schema.get("schema").filter(|raw| raw.get() != "null")?.into(),
            })
        }
        _ => None,
    }
}

/// Reads OpenAI's `reasoning_effort`, and OpenRouter's `reasoning` and `include_reasoning`.
fn reasoning<'a>(fields: &Fields<'a>, settings: &mut Settings<'a>, untyped: &mut Vec<&str>) -> Result<(), RequestError> {
    let includes = value(fields, "include_reasoning", "true or false")?;
    let mut level = match text_of(fields, "reasoning_effort") {
        Some(word) => Some(effort("reasoning_effort", &word)?),
        None if fields.get("reasoning_effort").is_some_and(|raw| !is_blank(raw)) => {
            return Err(wrong("reasoning_effort", "it must be a string"));
        }
        None => None,
    };
    let mut excludes: Option<bool> = None;
    if let Some(raw) = fields.get("reasoning").filter(|raw| raw.get() != "null") {
        match object(raw).filter(|reasoning| has_only(reasoning, &["effort", "max_tokens", "exclude", "enabled"])) {
            Some(reasoning) => {
                let error = |_| wrong("reasoning", "its members are effort, max_tokens, exclude and enabled");
                let is_enabled: Option<bool> = reasoning.read("enabled").map_err(error)?;
                let budget: Option<u64> = reasoning.read("max_tokens").map_err(error)?;
                excludes = reasoning.read("exclude").map_err(error)?;
                level = match (is_enabled, text_of(&reasoning, "effort"), budget) {
                    (Some(false), _, _) => Some(Level::Off),
                    (_, Some(word), _) => Some(effort("reasoning", &word)?),
                    (_, None, Some(tokens)) => Some(Level::Budget(tokens)),
                    (Some(true), None, None) => level.or(Some(Level::Auto)),
                    (None, None, None) => level,
                };
                // OpenRouter shows the reasoning that is asked for, unless it is excluded.
                excludes = excludes.or_else(|| level.filter(|level| *level != Level::Off).map(|_| false));
            }
            None => untyped.push("reasoning"),
        }
    }
    settings.reasoning = level;
    settings.shows_reasoning = excludes.map(|excludes| !excludes).or(includes);
    Ok(())
}

/// Reads an effort; Groq's word for the model's own is `default`.
fn effort(field: &'static str, word: &str) -> Result<Level, RequestError> {
    match word {
        "none" => Ok(Level::Off),
        "default" | "auto" => Ok(Level::Auto),
        word => Effort::parse(word)
            .map(Level::Effort)
            .ok_or_else(|| wrong(field, "an effort is one of none, minimal, low, medium, high, xhigh and max")),
    }
}
