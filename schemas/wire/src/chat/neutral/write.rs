//! A neutral request, written for a provider of Chat.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Number, Value};

use super::tools::{ChoiceBody, ToolBody, choice_body, tool_body};
use super::turns::{MessageBody, Messages};
use crate::call::{Format, Target};
use crate::dialect::EffortField;
use crate::neutral::{Effort, Json, Level, OutputFormat, Request, Settings, Text, ToolChoice, Turn, Untranslatable, fate};

/// The maximum number of stop sequences (OpenAI's bound).
const STOP_MAX: usize = 4;
/// The name of a schema that has none, since OpenAI demands one.
const SCHEMA_NAME: &str = "answer";

#[derive(Debug, Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<MessageBody<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ChoiceBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(flatten)]
    settings: SettingsBody<'a>,
    /// Fields whose names the provider chooses, and those that only Chat has.
    #[serde(flatten)]
    more: BTreeMap<&'a str, Cow<'a, Json<'a>>>,
}

#[derive(Debug, Serialize)]
struct SettingsBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a Number>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop: &'a [Text<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<FormatBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<ReasoningBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FormatBody<'a> {
    JsonObject,
    JsonSchema { json_schema: SchemaBody<'a> },
}

#[derive(Debug, Serialize)]
struct SchemaBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a Json<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// OpenRouter's object.
#[derive(Debug, Default, Serialize)]
struct ReasoningBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exclude: Option<bool>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Writes the request for a provider.
///
/// # Errors
/// Fails if Chat, or the provider, cannot express a part of the request; the error names the caller's field.
pub fn write(request: &Request<'_>, stream: bool, target: &Target<'_>) -> Result<Vec<u8>, Untranslatable> {
    fate::check(request, Format::Chat)?;
    let is_own = request.source == Format::Chat;
    let turns: Cow<'_, [Turn<'_>]> = if is_own { Cow::Borrowed(&request.turns) } else { Cow::Owned(request.merged_turns()) };
    let has_cache_control = target.dialect.has_cache_control;
    // Without tools OpenAI refuses both.
    let has_tools = is_own || !request.tools.is_empty();
    let choice = request.tool_choice.as_ref().filter(|choice| has_tools || !matches!(choice, ToolChoice::Auto | ToolChoice::None));
    let body = Body {
        model: target.model,
        messages: Messages::of(&turns, request.source, target)?,
        stream,
        tools: request.tools.iter().map(|tool| tool_body(tool, has_cache_control)).collect::<Result<_, _>>()?,
        tool_choice: choice.map(|choice| choice_body(choice, &request.tools)),
        parallel_tool_calls: request.parallel_tool_calls.filter(|_| has_tools),
        settings: settings(request, target)?,
        more: more(request, stream, target),
    };
    serde_json::to_vec(&body).map_err(|_| Untranslatable::new("messages", "it cannot be written as JSON"))
}

/// Returns the cap and the seed under the provider's names, the request for usage, and the fields that only Chat has.
fn more<'a>(request: &'a Request<'_>, stream: bool, target: &Target<'a>) -> BTreeMap<&'a str, Cow<'a, Json<'a>>> {
    let mut more: BTreeMap<&'a str, Cow<'a, Json<'a>>> = BTreeMap::new();
    if request.source == Format::Chat {
        more.extend(request.extras.iter().map(|(name, value)| (name.as_ref(), Cow::Borrowed(value))));
    }
    if stream && target.dialect.has_stream_options {
        let mut options = more.get("stream_options").map_or(Value::Null, |options| options.value());
        if !options.is_object() {
            options = Value::Object(serde_json::Map::new());
        }
        if let Value::Object(options) = &mut options {
            options.insert("include_usage".to_owned(), Value::Bool(true));
        }
        more.insert("stream_options", Cow::Owned(Json::of(&options)));
    }
    if let Some(cap) = target.cap {
        more.insert(&target.dialect.cap_field, Cow::Owned(Json::of(&cap)));
    }
    if let Some(seed) = &request.settings.seed {
        more.insert(target.dialect.seed_field, Cow::Owned(Json::of(seed)));
    }
    more
}

fn settings<'a>(request: &'a Request<'_>, target: &Target<'_>) -> Result<SettingsBody<'a>, Untranslatable> {
    let Request { settings, source, .. } = request;
    let is_own = *source == Format::Chat;
    if settings.has_narrow_top_k() && !is_own {
        return Err(Untranslatable::new(names(*source).top_k, "its API has no such setting; leave it out"));
    }
    if settings.stop.len() > STOP_MAX && !is_own {
        return Err(Untranslatable::new(names(*source).stop, "its API takes at most 4 sequences"));
    }
    if settings.choices > 1 && !target.dialect.has_choices {
        return Err(Untranslatable::new(names(*source).choices, "it gives one answer at a time; ask for one"));
    }
    let (reasoning_effort, reasoning) = match target.dialect.effort {
        EffortField::ReasoningEffort => (settings.reasoning.and_then(effort), None),
        EffortField::Reasoning => (None, reasoning(settings)),
    };
    Ok(SettingsBody {
        temperature: settings.temperature.as_ref(),
        top_p: settings.top_p.as_ref(),
        top_k: settings.top_k.as_ref().filter(|_| is_own),
        stop: &settings.stop,
        frequency_penalty: settings.frequency_penalty.as_ref(),
        presence_penalty: settings.presence_penalty.as_ref(),
        n: (settings.choices > 1).then_some(settings.choices),
        logprobs: settings.logprobs.map(|_| true),
        top_logprobs: settings.logprobs.filter(|count| *count > 0),
        response_format: format(&settings.output),
        verbosity: settings.verbosity.as_deref(),
        reasoning_effort,
        reasoning,
        user: settings.user.as_deref(),
        service_tier: settings.service_tier.as_deref().filter(|tier| is_own || *tier != "auto"),
    })
}

/// The caller's names of settings.
struct Names {
    top_k: &'static str,
    stop: &'static str,
    choices: &'static str,
}

const fn names(source: Format) -> Names {
    match source {
        Format::Chat | Format::Responses | Format::Embeddings(_) => Names { top_k: "top_k", stop: "stop", choices: "n" },
        Format::Messages => Names { top_k: "top_k", stop: "stop_sequences", choices: "n" },
        Format::Generate => {
            Names { top_k: "generationConfig.topK", stop: "generationConfig.stopSequences", choices: "generationConfig.candidateCount" }
        }
    }
}

fn format<'a>(output: &'a OutputFormat<'_>) -> Option<FormatBody<'a>> {
    match output {
        OutputFormat::Text => None,
        OutputFormat::Json => Some(FormatBody::JsonObject),
        OutputFormat::Schema { name, description, schema, strict } => Some(FormatBody::JsonSchema {
            json_schema: SchemaBody {
                name: name.as_deref().unwrap_or(SCHEMA_NAME),
                description: description.as_deref(),
                schema,
                strict: *strict,
            },
        }),
    }
}

/// Returns OpenAI's word for an amount of reasoning; `None` if the model decides.
fn effort(level: Level) -> Option<&'static str> {
    match level {
        Level::Off | Level::Budget(0) => Some("none"),
        Level::Auto => None,
        Level::Effort(effort) => Some(effort.as_str()),
        Level::Budget(tokens) => Some(Effort::of_budget(tokens).as_str()),
    }
}

/// Returns OpenRouter's object for an amount of reasoning.
fn reasoning(settings: &Settings<'_>) -> Option<ReasoningBody> {
    let exclude = settings.shows_reasoning.filter(|shows| !shows).map(|_| true);
    let body = match settings.reasoning {
        None => ReasoningBody::default(),
        Some(Level::Off | Level::Budget(0)) => ReasoningBody { enabled: Some(false), ..ReasoningBody::default() },
        Some(Level::Auto) => ReasoningBody { enabled: Some(true), ..ReasoningBody::default() },
        Some(Level::Effort(effort)) => ReasoningBody { effort: Some(effort.as_str()), ..ReasoningBody::default() },
        Some(Level::Budget(tokens)) => ReasoningBody { max_tokens: Some(tokens), ..ReasoningBody::default() },
    };
    (settings.reasoning.is_some() || exclude.is_some()).then_some(ReasoningBody { exclude, ..body })
}
