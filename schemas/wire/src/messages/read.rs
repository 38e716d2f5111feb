//! A request of Anthropic's format, read into the neutral form.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::blocks::{Origin, cache, parts};
use super::members::{all, given, object, only, string, text};
use super::request::{service_tier, user, wrong};
use crate::call::{Format, RequestError};
use crate::chat::request::OWN_FIELDS;
use crate::fields::Fields;
use crate::neutral::{Effort, Json, Level, OutputFormat, Request, Role, Text, Tool, ToolChoice, Turn};

/// What `thinking` and `output_config` say about the amount of reasoning.
#[derive(Default)]
struct Reasoning {
    level: Option<Level>,
    effort: Option<Effort>,
}

/// Reads a request. Explicit nulls and explicit defaults (`speed: standard`, `defer_loading: false`) count as absent.
pub fn request<'a>(fields: &Fields<'a>) -> Result<Request<'a>, RequestError> {
    let mut request = Request::new(Format::Messages);
    let mut reasoning = Reasoning::default();
    let mut system = None;
    for (name, raw) in fields.0.iter().filter(|(name, raw)| raw.get() != "null" && !OWN_FIELDS.contains(&name.as_ref())) {
        let settings = &mut request.settings;
        match name.as_ref() {
            "model" | "stream" => {}
            "max_tokens" => settings.output_tokens_max = Some(value(raw, "max_tokens", "a whole number")?),
            "messages" => request.turns = turns(raw)?,
            "system" => {
                system = Some(parts(raw, Origin::Request).ok_or_else(|| wrong("system", "it must be a string or an array of blocks"))?);
            }
            "temperature" => settings.temperature = Some(value(raw, "temperature", "a number")?),
            "top_p" => settings.top_p = Some(value(raw, "top_p", "a number")?),
            "top_k" => settings.top_k = Some(value(raw, "top_k", "a number")?),
            "stop_sequences" => {
                settings.stop = all(raw, string).ok_or_else(|| wrong("stop_sequences", "it must be an array of strings"))?;
            }
            "service_tier" => settings.service_tier = service_tier(fields)?.map(Text::Owned),
            "metadata" => metadata(fields, raw, &mut request)?,
            "thinking" => reasoning.level = thinking(raw, &mut request)?,
            "output_config" => reasoning.effort = output_config(raw, &mut request)?,
            "output_format" => settings.output = output(raw)?,
            "tools" => tools(raw, &mut request)?,
            "tool_choice" => tool_choice(raw, &mut request)?,
            "speed" if raw.get() == "\"standard\"" => {}
            _ => request.extras.push((name.clone(), Json::from(*raw))),
        }
    }
    request.settings.reasoning = match (reasoning.level, reasoning.effort) {
        (Some(Level::Auto) | None, Some(effort)) => Some(Level::Effort(effort)),
        (level, _) => level,
    };
    if let Some(parts) = system {
        request.turns.insert(0, Turn { role: Role::System, parts, name: None });
    }
    Ok(request)
}

fn value<T: DeserializeOwned>(raw: &RawValue, field: &'static str, what: &str) -> Result<T, RequestError> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(field, format_args!("it must be {what}")))
}

fn turns(raw: &RawValue) -> Result<Vec<Turn<'_>>, RequestError> {
    all(raw, |raw| object(raw).map(|message| turn(&message)))
        .ok_or_else(|| wrong("messages", "it must be an array of objects, each with a 'role'"))?
        .into_iter()
        .collect()
}

fn turn<'a>(message: &Fields<'a>) -> Result<Turn<'a>, RequestError> {
    let role = match text(message, "role").as_deref() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("system") => Role::System,
        _ => return Err(wrong("messages", "a role must be \"user\", \"assistant\" or \"system\"")),
    };
    let content = given(message, "content").and_then(|raw| parts(raw, Origin::Request));
    let parts = content.ok_or_else(|| wrong("messages", "a 'content' must be a string or an array of blocks, each with a 'type'"))?;
    Ok(Turn { role, parts, name: None })
}

fn metadata<'a>(fields: &Fields<'a>, raw: &'a RawValue, request: &mut Request<'a>) -> Result<(), RequestError> {
    request.settings.user = user(fields)?.map(Text::Owned);
    if object(raw).is_some_and(|metadata| !only(&metadata, &["user_id"])) {
        request.extras.push(("metadata".into(), raw.into()));
    }
    Ok(())
}

/// Reads `thinking`. The object itself is kept for providers of this format; a member that the neutral form lacks is kept under its path.
fn thinking<'a>(raw: &'a RawValue, request: &mut Request<'a>) -> Result<Option<Level>, RequestError> {
    let config = object(raw).ok_or_else(|| wrong("thinking", "it must be an object"))?;
    request.settings.shows_reasoning = match text(&config, "display").as_deref() {
        Some("summarized") => Some(true),
        Some("omitted") => Some(false),
        _ => None,
    };
    let level = match text(&config, "type").as_deref() {
        Some("adaptive") => Some(Level::Auto),
        Some("disabled") => Some(Level::Off),
        Some("enabled") => {
            let budget = config.read("budget_tokens").ok().flatten();
            Some(Level::Budget(budget.ok_or_else(|| wrong("thinking", "'budget_tokens' must be a whole number"))?))
        }
        Some(_) | None => {
            request.extras.push(("thinking.type".into(), raw.into()));
            None
        }
    };
    keep("thinking", raw, &config, &["type", "budget_tokens", "display"], request);
    Ok(level)
}

/// Reads `output_config`, which is kept like `thinking`.
fn output_config<'a>(raw: &'a RawValue, request: &mut Request<'a>) -> Result<Option<Effort>, RequestError> {
    let config = object(raw).ok_or_else(|| wrong("output_config", "it must be an object"))?;
    if let Some(format) = given(&config, "format") {
        request.settings.output = output(format)?;
    }
    keep("output_config", raw, &config, &["effort", "format"], request);
    match given(&config, "effort").map(string) {
        None => Ok(None),
        Some(effort) => {
            let effort = effort.and_then(|effort| Effort::parse(&effort));
            effort.map(Some).ok_or_else(|| wrong("output_config", "'effort' must be low, medium, high, xhigh or max"))
        }
    }
}

fn keep<'a>(name: &'static str, raw: &'a RawValue, object: &Fields<'a>, known: &[&str], request: &mut Request<'a>) {
    request.extras.push((name.into(), raw.into()));
    for (member, raw) in object.0.iter().filter(|(member, raw)| !known.contains(&member.as_ref()) && raw.get() != "null") {
        request.extras.push((format!("{name}.{member}").into(), Json::from(*raw)));
    }
}

fn output(raw: &RawValue) -> Result<OutputFormat<'_>, RequestError> {
    let format = object(raw).filter(|format| text(format, "type").is_some_and(|kind| kind == "json_schema"));
    let schema = format.and_then(|format| given(&format, "schema"));
    let schema = schema.ok_or_else(|| wrong("output_config", "'format' must have the type \"json_schema\" and a 'schema'"))?;
    Ok(OutputFormat::Schema { name: None, description: None, schema: schema.into(), strict: None })
}

fn tools<'a>(raw: &'a RawValue, request: &mut Request<'a>) -> Result<(), RequestError> {
    let mut is_eager = false;
    let tools = all(raw, |raw| {
        let fields = object(raw)?;
        is_eager |= given(&fields, "eager_input_streaming").is_some();
        Some(tool(&fields).unwrap_or(Tool::Opaque { format: Format::Messages, raw: raw.into() }))
    });
    request.tools = tools.ok_or_else(|| wrong("tools", "it must be an array of objects"))?;
    if is_eager {
        // The neutral form has no place for this setting of a tool, so the tools are kept as they are.
        request.extras.push(("tools.eager_input_streaming".into(), raw.into()));
    }
    Ok(())
}

/// Reads a tool that the caller runs; `None` if it has more than the neutral form says.
fn tool<'a>(fields: &Fields<'a>) -> Option<Tool<'a>> {
    let is_default = |name: &str, raw: &RawValue| match name {
        "type" => raw.get() == "\"custom\"",
        "defer_loading" => raw.get() == "false",
        "input_examples" => raw.get() == "[]",
        "allowed_callers" => raw.get() == "[\"direct\"]",
        "eager_input_streaming" | "name" | "description" | "input_schema" | "strict" | "cache_control" => true,
        _ => false,
    };
    if fields.repeated().is_some() || !fields.0.iter().all(|(name, raw)| raw.get() == "null" || is_default(name, raw)) {
        return None;
    }
    Some(Tool::Function {
        name: text(fields, "name")?,
        description: text(fields, "description"),
        parameters: Some(given(fields, "input_schema").filter(|raw| raw.get().starts_with('{'))?.into()),
        strict: fields.read("strict").ok()?,
        cache: cache(fields)?,
    })
}

fn tool_choice<'a>(raw: &'a RawValue, request: &mut Request<'a>) -> Result<(), RequestError> {
    let field = "tool_choice";
    let choice = object(raw).ok_or_else(|| wrong(field, "it must be an object"))?;
    request.tool_choice = Some(match text(&choice, "type").as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => ToolChoice::Tool(text(&choice, "name").ok_or_else(|| wrong(field, "it must have the 'name' of a tool"))?),
        _ => return Err(wrong(field, "its 'type' must be \"auto\", \"any\", \"tool\" or \"none\"")),
    });
    let disable: Option<bool> =
        choice.read("disable_parallel_tool_use").map_err(|_| wrong(field, "'disable_parallel_tool_use' must be true or false"))?;
    request.parallel_tool_calls = disable.map(|disable| !disable);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neutral::{Cache, Part, Untranslatable, fate};

    fn body(fields: &str) -> &'static str {
        Box::leak(format!(r#"{{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"x"}}],{fields}}}"#).into_boxed_str())
    }

    fn of(fields: &str) -> Request<'static> {
        request(&Fields::parse(body(fields).as_bytes()).unwrap()).unwrap()
    }

    fn param(fields: &str) -> Option<String> {
        request(&Fields::parse(body(fields).as_bytes()).unwrap()).unwrap_err().param().map(str::to_owned)
    }

    fn refused(fields: &str) -> Option<String> {
        fate::check(&of(fields), Format::Chat).err().map(|Untranslatable { field, .. }| field.into_owned())
    }

    #[test]
    fn reasoning_is_a_level() {
        for (fields, level) in [
            (r#""thinking":{"type":"enabled","budget_tokens":2048},"output_config":{"effort":"low"}"#, Some(Level::Budget(2048))),
            (r#""thinking":{"type":"adaptive"}"#, Some(Level::Auto)),
            (r#""thinking":{"type":"adaptive"},"output_config":{"effort":"xhigh"}"#, Some(Level::Effort(Effort::XHigh))),
            (r#""output_config":{"effort":"max"}"#, Some(Level::Effort(Effort::Max))),
            (r#""thinking":{"type":"disabled"},"output_config":{"effort":"low"}"#, Some(Level::Off)),
            (r#""thinking":null"#, None),
        ] {
            assert_eq!(of(fields).settings.reasoning, level, "{fields}");
            assert_eq!(refused(fields), None, "{fields}");
        }
        assert_eq!(of(r#""thinking":{"type":"adaptive","display":"summarized"}"#).settings.shows_reasoning, Some(true));
        assert_eq!(of(r#""thinking":{"type":"adaptive","display":"omitted"}"#).settings.shows_reasoning, Some(false));
    }

    #[test]
    fn what_no_other_format_has_is_refused_there_by_its_name() {
        for (fields, field) in [
            (r#""thinking":{"type":"between_tools"}"#, "thinking.type"),
            (r#""thinking":{"type":"adaptive","new":1}"#, "thinking.new"),
            (r#""output_config":{"task_budget":{}}"#, "output_config.task_budget"),
            (r#""container":"c""#, "container"),
            (r#""inference_geo":"eu""#, "inference_geo"),
            (r#""speed":"fast""#, "speed"),
            (r#""mcp_servers":[]"#, "mcp_servers"),
        ] {
            assert_eq!(refused(fields).as_deref(), Some(field), "{fields}");
        }
        for fields in [
            r#""context_management":{"edits":[]}"#,
            r#""speed":"standard""#,
            r#""metadata":{"user_id":"u","x":1}"#,
            r#""cache_control":{"type":"ephemeral"}"#,
        ] {
            assert_eq!(refused(fields), None, "{fields}");
        }
    }

    #[test]
    fn tools_are_functions_or_opaque() {
        let request = of(
            r#""tools":[{"name":"a","input_schema":{"type":"object"},"type":"custom","strict":true,"cache_control":{"type":"ephemeral","ttl":"1h"}},
            {"type":"bash_20250124","name":"bash"},{"name":"b","input_schema":{},"defer_loading":true},
            {"name":"c","input_schema":{},"eager_input_streaming":true,"defer_loading":false}],"tool_choice":{"type":"any","disable_parallel_tool_use":true}"#,
        );
        assert!(matches!(&request.tools[0], Tool::Function { strict: Some(true), cache: Some(Cache::OneHour), .. }));
        assert!(matches!(&request.tools[1..3], [Tool::Opaque { .. }, Tool::Opaque { .. }]));
        assert!(matches!(&request.tools[3], Tool::Function { .. }));
        assert_eq!((request.tool_choice, request.parallel_tool_calls), (Some(ToolChoice::Required), Some(false)));
        assert_eq!(request.extras[0].0, "tools.eager_input_streaming");
    }

    #[test]
    fn the_system_prompt_comes_first_and_system_turns_stay_in_place() {
        let body =
            r#"{"messages":[{"role":"user","content":"x"},{"role":"system","content":"s2"}],"system":[{"type":"text","text":"s1"}]}"#;
        let turns = request(&Fields::parse(body.as_bytes()).unwrap()).unwrap().turns;
        let roles: Vec<Role> = turns.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::System]);
        assert_eq!(turns[0].parts, [Part::text("s1")]);
    }

    #[test]
    fn faults_name_their_field() {
        for (fields, field) in [
            (r#""temperature":"x""#, "temperature"),
            (r#""stop_sequences":"x""#, "stop_sequences"),
            (r#""system":3"#, "system"),
            (r#""tools":[3]"#, "tools"),
            (r#""tool_choice":{"type":"tool"}"#, "tool_choice"),
            (r#""tool_choice":"auto""#, "tool_choice"),
            (r#""thinking":{"type":"enabled"}"#, "thinking"),
            (r#""output_config":{"effort":"huge"}"#, "output_config"),
            (r#""output_config":{"format":{"type":"text"}}"#, "output_config"),
        ] {
            assert_eq!(param(fields).as_deref(), Some(field), "{fields}");
        }
        let role = Fields::parse(br#"{"messages":[{"role":"tool","content":"x"}]}"#).unwrap();
        assert_eq!(request(&role).unwrap_err().param(), Some("messages"));
        let content = Fields::parse(br#"{"messages":[{"role":"user","content":[{"text":"x"}]}]}"#).unwrap();
        assert_eq!(request(&content).unwrap_err().param(), Some("messages"));
    }
}
