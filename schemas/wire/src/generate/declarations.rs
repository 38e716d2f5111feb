//! Tools and the choice among them, written from the neutral form.

use serde::Serialize;

use super::body::Members;
use super::write::own;
use crate::call::Format;
use crate::neutral::{Json, Request, Tool, ToolChoice, Untranslatable, own_member};

/// The maximum length of a function's name.
const NAME_BYTES_MAX: usize = 128;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<Json<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FunctionsBody<'a> {
    function_declarations: Vec<FunctionBody<'a>>,
}

/// Returns the tools; `None` if there are none. All functions stand in one element, in the place of the first.
///
/// # Errors
/// Fails if a tool cannot be expressed.
pub fn tools(request: &Request<'_>) -> Result<Option<Json<'static>>, Untranslatable> {
    let mut functions = Vec::new();
    let mut others: Vec<&Json<'_>> = Vec::new();
    let mut place = 0;
    for tool in &request.tools {
        let function = match tool {
            Tool::Opaque { format: Format::Generate, raw } => {
                others.push(raw);
                continue;
            }
            Tool::Opaque { raw, .. } => {
                let foreign = || "a tool of another vendor cannot run there".to_owned();
                return Err(refused(own_member(raw).unwrap_or_else(foreign)));
            }
            Tool::Function { name, description, parameters, .. } => {
                FunctionBody { name, description: description.as_deref(), parameters_json_schema: parameters.clone() }
            }
            Tool::Custom { name, description, format } => custom(name, description.as_deref(), format.as_ref())?,
        };
        if request.source != Format::Generate && !is_name(function.name) {
            return Err(refused(format!(
                "the name '{}' must begin with a letter or '_', and have at most 128 letters, digits, '_', '.', ':' or '-'",
                function.name
            )));
        }
        if functions.is_empty() {
            place = others.len();
        }
        functions.push(function);
    }
    let mut all: Vec<Json<'_>> = others.into_iter().cloned().collect();
    if !functions.is_empty() {
        all.insert(place, Json::of(&FunctionsBody { function_declarations: functions }));
    }
    Ok((!all.is_empty()).then(|| Json::of(&all)))
}

fn refused(reason: impl Into<std::borrow::Cow<'static, str>>) -> Untranslatable {
    Untranslatable::new("tools", reason)
}

/// Returns a tool with free text as a function of one text.
fn custom<'t>(name: &'t str, description: Option<&'t str>, format: Option<&Json<'_>>) -> Result<FunctionBody<'t>, Untranslatable> {
    let has_grammar = format.is_some_and(|format| format.value().get("type").is_some_and(|kind| kind != "text"));
    if has_grammar {
        return Err(refused("its API knows no grammars for a tool's text; leave out the 'format' of the custom tool"));
    }
    let parameters_json_schema = Json::parse(r#"{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}"#);
    Ok(FunctionBody { name, description, parameters_json_schema })
}

fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    let begins_well = name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    begins_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_letter)
}

/// Returns `toolConfig`. A strict tool makes the mode VALIDATED, in which calls obey the schemas.
///
/// # Errors
/// Fails if the caller wants at most one call at a time.
pub fn config<'r>(request: &'r Request<'r>) -> Result<Members<'r>, Untranslatable> {
    if request.parallel_tool_calls == Some(false) && !request.tools.is_empty() {
        let field = if request.source == Format::Messages { "tool_choice" } else { "parallel_tool_calls" };
        return Err(Untranslatable::new(field, "its API cannot limit the calls to one at a time"));
    }
    // Google refuses a choice without functions.
    if request.tools.is_empty() && request.source != Format::Generate {
        return Ok(Members::default());
    }
    let is_strict = request.tools.iter().any(|tool| matches!(tool, Tool::Function { strict: Some(true), .. }));
    let auto = if is_strict { "VALIDATED" } else { "AUTO" };
    let (mode, names) = match &request.tool_choice {
        None if is_strict => (Some(auto), None),
        None => (None, None),
        Some(ToolChoice::Auto) => (Some(auto), None),
        Some(ToolChoice::None) => (Some("NONE"), None),
        Some(ToolChoice::Required) => (Some("ANY"), None),
        Some(ToolChoice::Tool(name)) => (Some("ANY"), Some(Json::of(&[name]))),
        Some(ToolChoice::AnyOf { names, is_required: true }) => (Some("ANY"), Some(Json::of(names))),
        Some(ToolChoice::AnyOf { names, is_required: false }) => (Some("VALIDATED"), Some(Json::of(names))),
    };
    let mut calling = Members::default();
    calling.put("mode", mode.map(|mode| Json::of(&mode)));
    calling.put("allowedFunctionNames", names);
    for (name, value) in own(request, "toolConfig.functionCallingConfig.") {
        calling.put(name, value.clone());
    }
    let mut config = Members::default();
    config.put_object("functionCallingConfig", &calling);
    for (name, value) in own(request, "toolConfig.") {
        config.put_if_absent(name, value.clone());
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn function(name: &'static str, strict: Option<bool>) -> Tool<'static> {
        Tool::Function { name: name.into(), description: None, parameters: None, strict, cache: None }
    }

    fn with(source: Format, tools: Vec<Tool<'static>>) -> Request<'static> {
        Request { tools, ..Request::new(source) }
    }

    fn config_of(request: &Request<'_>) -> Value {
        Json::of(&config(request).unwrap()).value()
    }

    #[test]
    fn functions_stand_together() {
        let search = Tool::Opaque { format: Format::Generate, raw: Json::of(&json!({"googleSearch": {}})) };
        let custom = Tool::Custom { name: "c".into(), description: None, format: Some(Json::of(&json!({"type": "text"}))) };
        let request = with(Format::Generate, vec![search, function("f", None), custom]);
        let text = json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]});
        assert_eq!(
            tools(&request).unwrap().unwrap().value(),
            json!([{"googleSearch": {}}, {"functionDeclarations": [{"name": "f"}, {"name": "c", "parametersJsonSchema": text}]}])
        );
        assert_eq!(tools(&with(Format::Chat, Vec::new())).unwrap(), None);
    }

    #[test]
    fn tools_that_the_format_does_not_know_are_refused() {
        let grammar = Tool::Custom { name: "c".into(), description: None, format: Some(Json::of(&json!({"type": "grammar"}))) };
        let foreign = Tool::Opaque { format: Format::Messages, raw: Json::of(&json!({"type": "bash"})) };
        for tool in [grammar, foreign, function("1f", None), function("f g", None), function("", None)] {
            assert_eq!(tools(&with(Format::Chat, vec![tool.clone()])).unwrap_err().field, "tools", "{tool:?}");
        }
        assert!(tools(&with(Format::Chat, vec![function("_a.b:c-9", None)])).is_ok());
        let long: &'static str = Box::leak("n".repeat(129).into_boxed_str());
        assert!(tools(&with(Format::Chat, vec![function(long, None)])).is_err());
    }

    #[test]
    fn every_choice_has_its_mode() {
        let any_of = |is_required| ToolChoice::AnyOf { names: vec!["f".into(), "g".into()], is_required };
        for (choice, expected) in [
            (ToolChoice::Auto, json!({"mode": "AUTO"})),
            (ToolChoice::None, json!({"mode": "NONE"})),
            (ToolChoice::Required, json!({"mode": "ANY"})),
            (ToolChoice::Tool("f".into()), json!({"mode": "ANY", "allowedFunctionNames": ["f"]})),
            (any_of(true), json!({"mode": "ANY", "allowedFunctionNames": ["f", "g"]})),
            (any_of(false), json!({"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]})),
        ] {
            let mut request = with(Format::Chat, vec![function("f", None)]);
            request.tool_choice = Some(choice);
            assert_eq!(config_of(&request), json!({"functionCallingConfig": expected}));
        }
        assert_eq!(config_of(&with(Format::Chat, vec![function("f", None)])), json!({}));
        let without_tools = Request { tool_choice: Some(ToolChoice::None), ..Request::new(Format::Chat) };
        assert_eq!(config_of(&without_tools), json!({}), "Google refuses a choice without functions");
        assert_eq!(
            config_of(&with(Format::Chat, vec![function("f", Some(true))])),
            json!({"functionCallingConfig": {"mode": "VALIDATED"}})
        );
    }

    #[test]
    fn one_call_at_a_time_is_refused() {
        for (source, field) in [(Format::Chat, "parallel_tool_calls"), (Format::Messages, "tool_choice")] {
            let mut request = with(source, vec![function("f", None)]);
            request.parallel_tool_calls = Some(false);
            assert_eq!(config(&request).unwrap_err().field, field);
        }
    }
}
