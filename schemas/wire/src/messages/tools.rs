//! The tools of a request for Anthropic, and the choice among them.

use serde::Serialize;

use super::body::CacheControl;
use super::schema;
use super::spelling::Field;
use crate::call::Format;
use crate::neutral::{Json, Request, Text, Tool, ToolChoice, Untranslatable, own_member};

/// Anthropic's rule for the names of tools.
pub const NAME_RULE: &str = "must have at most 128 letters, digits, '_' or '-'";

/// Returns whether a name follows Anthropic's rule.
pub fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// A tool as it is written.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ToolBody<'r> {
    Function {
        name: Text<'r>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<Text<'r>>,
        input_schema: Json<'r>,
        #[serde(skip_serializing_if = "Option::is_none")]
        strict: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Raw(Json<'r>),
}

/// A choice as it is written.
#[derive(Debug, Serialize)]
pub struct ChoiceBody<'r> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Text<'r>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

impl ChoiceBody<'_> {
    /// Returns whether the model must call a tool.
    pub fn is_forced(&self) -> bool {
        matches!(self.r#type, "any" | "tool")
    }
}

/// Writes the tools that the model may call.
pub fn tools<'r>(request: &'r Request<'_>) -> Result<Vec<ToolBody<'r>>, Untranslatable> {
    let allowed = match &request.tool_choice {
        Some(ToolChoice::AnyOf { names, .. }) => Some(names),
        Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Required | ToolChoice::Tool(_)) | None => None,
    };
    let is_allowed = |tool: &&Tool<'_>| match (allowed, tool) {
        (None, _) => true,
        (Some(names), Tool::Function { name, .. } | Tool::Custom { name, .. }) => names.contains(name),
        (Some(_), Tool::Opaque { .. }) => false,
    };
    request.tools.iter().filter(is_allowed).map(|tool| body(tool, request.source)).collect()
}

fn body<'r>(tool: &'r Tool<'_>, source: Format) -> Result<ToolBody<'r>, Untranslatable> {
    let is_own = source == Format::Messages;
    let field = Field::Tools.of(source);
    match tool {
        Tool::Function { name, .. } if !is_own && !is_name(name) => {
            Err(Untranslatable::new(field, format!("the name of the tool '{name}' {NAME_RULE}")))
        }
        Tool::Function { name, description, parameters, strict, cache } => {
            let is_strict = *strict == Some(true) && !is_own;
            let input_schema = match parameters {
                None => Json::of(&serde_json::json!({"type": "object", "properties": {}})),
                Some(parameters) if is_strict => schema::closed(parameters, field)?,
                Some(parameters) => parameters.clone(),
            };
            Ok(ToolBody::Function {
                name: Text::Borrowed(name),
                description: description.as_deref().map(Text::Borrowed),
                input_schema,
                // Anthropic's tools are not strict unless they say so.
                strict: strict.filter(|strict| *strict || is_own),
                cache_control: cache.map(CacheControl::from),
            })
        }
        Tool::Custom { name, .. } => {
            Err(Untranslatable::new(field, format!("the tool '{name}' takes free text, and its API knows only tools with a schema")))
        }
        Tool::Opaque { format: Format::Messages, raw } => Ok(ToolBody::Raw(raw.clone())),
        Tool::Opaque { raw, .. } => {
            let kind = raw.value().get("type").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
            Err(Untranslatable::new(field, own_member(raw).unwrap_or_else(|| format!("the tool '{kind}' is run by another vendor"))))
        }
    }
}

/// Writes the choice. `count` is the number of tools that are sent.
pub fn choice<'r>(request: &'r Request<'_>, count: usize) -> Result<Option<ChoiceBody<'r>>, Untranslatable> {
    let (kind, name) = match &request.tool_choice {
        None if request.parallel_tool_calls == Some(false) => ("auto", None),
        None => return Ok(None),
        Some(ToolChoice::Auto | ToolChoice::AnyOf { is_required: false, .. }) => ("auto", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Required | ToolChoice::AnyOf { is_required: true, .. }) => ("any", None),
        Some(ToolChoice::Tool(name)) => ("tool", Some(Text::Borrowed(name.as_ref()))),
    };
    let disable_parallel_tool_use = request.parallel_tool_calls.filter(|_| kind != "none").map(|parallel| !parallel);
    let choice = ChoiceBody { r#type: kind, name, disable_parallel_tool_use };
    if count > 0 {
        return Ok(Some(choice));
    }
    if choice.is_forced() {
        return Err(Untranslatable::new(Field::ToolChoice.of(request.source), "there is no such tool in the request"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(names: &[&'static str]) -> Request<'static> {
        let tool = |name: &&'static str| Tool::Function {
            name: (*name).into(),
            description: None,
            parameters: Json::parse(r#"{"type":"object","properties":{"n":{"type":"integer","minimum":1}}}"#),
            strict: Some(false),
            cache: None,
        };
        Request { tools: names.iter().map(tool).collect(), ..Request::new(Format::Chat) }
    }

    fn value(body: &impl Serialize) -> Value {
        serde_json::to_value(body).unwrap()
    }

    fn choose(choice: Option<ToolChoice<'static>>, parallel: Option<bool>) -> Value {
        let request = Request { tool_choice: choice, parallel_tool_calls: parallel, ..request(&["a", "b"]) };
        value(&super::choice(&request, 2).unwrap())
    }

    #[test]
    fn every_choice_has_its_word() {
        assert_eq!(choose(None, None), Value::Null);
        assert_eq!(choose(None, Some(false)), json!({"type": "auto", "disable_parallel_tool_use": true}));
        assert_eq!(choose(Some(ToolChoice::Required), Some(true)), json!({"type": "any", "disable_parallel_tool_use": false}));
        assert_eq!(choose(Some(ToolChoice::Tool("a".into())), None), json!({"type": "tool", "name": "a"}));
        assert_eq!(choose(Some(ToolChoice::None), Some(false)), json!({"type": "none"}));
    }

    #[test]
    fn some_of_the_tools_are_the_only_ones_sent() {
        let choice = Some(ToolChoice::AnyOf { names: vec!["b".into()], is_required: true });
        let request = Request { tool_choice: choice, ..request(&["a", "b"]) };
        let tools = tools(&request).unwrap();
        assert_eq!((tools.len(), value(&tools)[0]["name"].clone()), (1, json!("b")));
        assert_eq!(value(&super::choice(&request, tools.len()).unwrap()), json!({"type": "any"}));
    }

    #[test]
    fn a_choice_without_tools_is_left_out_or_refused() {
        let of = |choice| Request { tool_choice: Some(choice), parallel_tool_calls: Some(false), ..request(&[]) };
        assert!(choice(&of(ToolChoice::Auto), 0).unwrap().is_none());
        assert_eq!(choice(&of(ToolChoice::Required), 0).unwrap_err().field, "tool_choice");
    }

    #[test]
    fn tools_that_anthropic_lacks_are_refused() {
        let refused = |tool| tools(&Request { tools: vec![tool], ..Request::new(Format::Generate) }).unwrap_err().field;
        assert_eq!(refused(Tool::Custom { name: "a".into(), description: None, format: None }), "tools");
        assert_eq!(refused(Tool::Opaque { format: Format::Generate, raw: Json::parse("{}").unwrap() }), "tools");
        assert!(tools(&request(&["a.b"])).is_err());
        assert!(tools(&request(&[&*"a".repeat(129).leak()])).is_err());
    }

    #[test]
    fn only_strict_tools_get_a_closed_schema() {
        let mut request = request(&["a"]);
        let text = value(&tools(&request).unwrap())[0].clone();
        assert!(text.get("strict").is_none() && text["input_schema"].get("additionalProperties").is_none());
        if let Tool::Function { strict, .. } = &mut request.tools[0] {
            *strict = Some(true);
            let strict = value(&tools(&request).unwrap())[0].clone();
            assert_eq!((&strict["strict"], &strict["input_schema"]["additionalProperties"]), (&json!(true), &json!(false)));
        }
        let Tool::Function { parameters, .. } = &mut request.tools[0] else { panic!() };
        *parameters = None;
        assert_eq!(value(&tools(&request).unwrap())[0]["input_schema"], json!({"type": "object", "properties": {}}));
    }
}
