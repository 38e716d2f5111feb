//! Declarations of tools and the choice among them, both ways.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::bodies::CacheBody;
use super::content;
use super::raw::{array_of, has_only, object, object_of, text, text_of};
use crate::call::{Format, RequestError};
use crate::chat::request::wrong;
use crate::fields::Fields;
use crate::neutral::{Json, Text, Tool, ToolChoice, Untranslatable, own_member};

/// The maximum length of a tool's name (OpenAI's bound).
const NAME_CHARS_MAX: usize = 64;

/// Reads the declarations. One that is not known, or that has a member that is not known, stays opaque.
///
/// # Errors
/// Fails if they are not an array of objects.
pub fn read<'a>(fields: &Fields<'a>) -> Result<Vec<Tool<'a>>, RequestError> {
    let error = || wrong("tools", "it must be an array of objects");
    let read = |raw: &'a RawValue| {
        let tool = object(raw).ok_or_else(error)?;
        Ok(known(&tool).unwrap_or_else(|| Tool::Opaque { format: Format::Chat, raw: raw.into() }))
    };
    array_of(fields, "tools").ok_or_else(error)?.into_iter().map(read).collect()
}

fn known<'a>(tool: &Fields<'a>) -> Option<Tool<'a>> {
    match text_of(tool, "type")?.as_ref() {
        "function" if has_only(tool, &["type", "function", "cache_control"]) => {
            let function = object_of(tool, "function")?;
            let is_known = has_only(&function, &["name", "description", "parameters", "strict"]);
            Some(Tool::Function {
                name: text_of(&function, "name").filter(|_| is_known)?,
                description: text_of(&function, "description"),
                parameters: function.get("parameters").filter(|raw| raw.get() != "null").map(Json::from),
                strict: function.read("strict").ok()?,
                cache: content::cache(tool)?,
            })
        }
        "custom" if has_only(tool, &["type", "custom"]) => {
            let custom = object_of(tool, "custom").filter(|custom| has_only(custom, &["name", "description", "format"]))?;
            let format = custom.get("format").filter(|raw| raw.get() != "null").map(|raw| flat_format(&Json::from(raw)));
            Some(Tool::Custom { name: text_of(&custom, "name")?, description: text_of(&custom, "description"), format })
        }
        _ => None,
    }
}

/// Returns the format of a custom tool as Responses writes it: a grammar's members stand beside its type.
fn flat_format(format: &Json<'_>) -> Json<'static> {
    let mut value = format.value();
    if let Value::Object(members) = &mut value
        && let Some(Value::Object(grammar)) = members.remove("grammar")
    {
        members.extend(grammar);
    }
    Json::of(&value)
}

/// Returns the format of a custom tool as Chat writes it: a grammar is an object beside its type.
fn nested_format(format: &Json<'_>) -> Json<'static> {
    let mut value = format.value();
    if let Value::Object(members) = &mut value
        && members.get("type").and_then(Value::as_str) == Some("grammar")
        && !members.contains_key("grammar")
    {
        let grammar = ["definition", "syntax"].into_iter().filter_map(|name| members.remove_entry(name)).collect();
        members.insert("grammar".to_owned(), Value::Object(grammar));
    }
    Json::of(&value)
}

/// Reads the choice among the tools.
///
/// # Errors
/// Fails if its shape is not known.
pub fn read_choice<'a>(fields: &Fields<'a>) -> Result<Option<ToolChoice<'a>>, RequestError> {
    let Some(raw) = fields.get("tool_choice").filter(|raw| raw.get() != "null") else { return Ok(None) };
    let choice = match text(raw) {
        Some(word) => match word.as_ref() {
            "auto" => Some(ToolChoice::Auto),
            "none" => Some(ToolChoice::None),
            "required" | "any" => Some(ToolChoice::Required),
            _ => None,
        },
        None => object(raw).and_then(|choice| named(&choice)),
    };
    choice.map(Some).ok_or_else(|| wrong("tool_choice", "it must be \"auto\", \"none\", \"required\" or an object that names tools"))
}

fn named<'a>(choice: &Fields<'a>) -> Option<ToolChoice<'a>> {
    match text_of(choice, "type")?.as_ref() {
        "allowed_tools" => {
            let allowed = object_of(choice, "allowed_tools")?;
            let names = array_of(&allowed, "tools")?.into_iter().map(|raw| name_of(&object(raw)?)).collect::<Option<_>>()?;
            let is_required = match text_of(&allowed, "mode")?.as_ref() {
                "auto" => false,
                "required" => true,
                _ => return None,
            };
            Some(ToolChoice::AnyOf { names, is_required })
        }
        _ => name_of(choice).map(ToolChoice::Tool),
    }
}

/// Returns the name in a reference to a tool.
fn name_of<'a>(tool: &Fields<'a>) -> Option<Text<'a>> {
    let kind = text_of(tool, "type").filter(|kind| kind == "function" || kind == "custom")?;
    text_of(&object_of(tool, &kind)?, "name")
}

/// A declaration.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ToolBody<'a> {
    Function {
        #[serde(rename = "type")]
        kind: &'static str,
        function: FunctionBody<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheBody>,
    },
    Custom {
        #[serde(rename = "type")]
        kind: &'static str,
        custom: CustomBody<'a>,
    },
    Raw(&'a Json<'a>),
}

#[derive(Debug, Serialize)]
pub struct FunctionBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Json<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Debug, Serialize)]
pub struct CustomBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Json<'static>>,
}

/// Creates the body of a declaration.
///
/// # Errors
/// Fails if the tool is another vendor's, or has a name that OpenAI refuses.
pub fn tool_body<'a>(tool: &'a Tool<'a>, has_cache_control: bool) -> Result<ToolBody<'a>, Untranslatable> {
    match tool {
        Tool::Function { name, description, parameters, strict, cache } => Ok(ToolBody::Function {
            kind: "function",
            function: FunctionBody {
                name: named_well(name)?,
                description: description.as_deref(),
                parameters: parameters.as_ref(),
                strict: *strict,
            },
            cache_control: cache.filter(|_| has_cache_control).map(CacheBody::from),
        }),
        Tool::Custom { name, description, format } => Ok(ToolBody::Custom {
            kind: "custom",
            custom: CustomBody { name: named_well(name)?, description: description.as_deref(), format: format.as_ref().map(nested_format) },
        }),
        Tool::Opaque { format: Format::Chat, raw } => Ok(ToolBody::Raw(raw)),
        Tool::Opaque { raw, .. } => {
            let kind = object(&raw.0).and_then(|tool| text_of(&tool, "type").or_else(|| Some(tool.0.first()?.0.clone())));
            let kind = kind.unwrap_or_default();
            let foreign = || format!("'{kind}' is a tool of another vendor; declare a function instead");
            Err(Untranslatable::new("tools", own_member(raw).unwrap_or_else(foreign)))
        }
    }
}

fn named_well(name: &str) -> Result<&str, Untranslatable> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.bytes().all(is_allowed) {
        return Ok(name);
    }
    let rule = "a tool's name must have 1 to 64 letters, digits, '_' or '-'";
    Err(Untranslatable::new("tools", format!("'{name}' is not allowed: {rule}")))
}

/// A choice among the tools.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ChoiceBody<'a> {
    Word(&'static str),
    Tool(ReferenceBody<'a>),
    Allowed {
        #[serde(rename = "type")]
        kind: &'static str,
        allowed_tools: AllowedBody<'a>,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReferenceBody<'a> {
    Function { function: NameBody<'a> },
    Custom { custom: NameBody<'a> },
}

#[derive(Debug, Serialize)]
pub struct AllowedBody<'a> {
    mode: &'static str,
    tools: Vec<ReferenceBody<'a>>,
}

#[derive(Debug, Serialize)]
pub struct NameBody<'a> {
    name: &'a str,
}

/// Creates the body of a choice among the declared tools.
pub fn choice_body<'a>(choice: &'a ToolChoice<'_>, tools: &[Tool<'_>]) -> ChoiceBody<'a> {
    let custom = |tool: &'_ Tool<'_>| match tool {
        Tool::Custom { name, .. } => Some(name.to_string()),
        Tool::Function { .. } | Tool::Opaque { .. } => None,
    };
    let customs: HashSet<String> = tools.iter().filter_map(custom).collect();
    let reference = |name: &'a str| {
        let body = NameBody { name };
        if customs.contains(name) { ReferenceBody::Custom { custom: body } } else { ReferenceBody::Function { function: body } }
    };
    match choice {
        ToolChoice::Auto => ChoiceBody::Word("auto"),
        ToolChoice::None => ChoiceBody::Word("none"),
        ToolChoice::Required => ChoiceBody::Word("required"),
        ToolChoice::Tool(name) => ChoiceBody::Tool(reference(name)),
        ToolChoice::AnyOf { names, is_required } => ChoiceBody::Allowed {
            kind: "allowed_tools",
            allowed_tools: AllowedBody {
                mode: if *is_required { "required" } else { "auto" },
                tools: names.iter().map(|name| reference(name)).collect(),
            },
        },
    }
}
