//! Tools and the choice among them.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::value::RawValue;

use super::items::{member, present};
use super::object::Object;
use super::request::wrong;
use crate::call::{Format, RequestError};
use crate::fields::Fields;
use crate::neutral::{Json, Request, Text, Tool, ToolChoice, Untranslatable, own_member};

/// Members of a function that the neutral form has a place for.
const FUNCTION: &[&str] = &["type", "name", "description", "parameters", "strict"];
/// Members of a custom tool that the neutral form has a place for.
const CUSTOM: &[&str] = &["type", "name", "description", "format"];
/// The maximum length of a tool's name. Source: OpenAI's API reference.
const NAME_BYTES_MAX: usize = 64;

/// Reads the declared tools.
pub fn read(raw: &RawValue) -> Result<Vec<Tool<'_>>, RequestError> {
    let fault = || wrong("tools", "it must be an array of objects, each with a 'type'");
    let raws: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| fault())?;
    raws.into_iter().map(|raw| tool(raw).ok_or_else(fault)).collect()
}

fn tool(raw: &RawValue) -> Option<Tool<'_>> {
    let fields = Fields::parse(raw.get().as_bytes()).ok()?;
    let is_plain = |known: &[&str]| fields.0.iter().all(|(name, raw)| known.contains(&name.as_ref()) || raw.get() == "null");
    match (member(&fields, "type")?.as_ref(), member(&fields, "name")) {
        ("function", Some(name)) if is_plain(FUNCTION) => Some(Tool::Function {
            name,
            description: member(&fields, "description"),
            parameters: present(&fields, "parameters").map(Json::from),
            strict: fields.read("strict").ok()?,
            cache: None,
        }),
        ("custom", Some(name)) if is_plain(CUSTOM) => {
            Some(Tool::Custom { name, description: member(&fields, "description"), format: present(&fields, "format").map(Json::from) })
        }
        _ => Some(Tool::Opaque { format: Format::Responses, raw: raw.into() }),
    }
}

/// Reads the choice of a tool; `None` if only this format has such a choice.
pub fn read_choice(raw: &RawValue) -> Option<ToolChoice<'_>> {
    if let Some(word) = super::items::text(raw) {
        return match word.as_ref() {
            "auto" => Some(ToolChoice::Auto),
            "none" => Some(ToolChoice::None),
            "required" => Some(ToolChoice::Required),
            _ => None,
        };
    }
    let fields = Fields::parse(raw.get().as_bytes()).ok()?;
    match member(&fields, "type")?.as_ref() {
        "function" | "custom" => member(&fields, "name").map(ToolChoice::Tool),
        "allowed_tools" => {
            let is_required = match member(&fields, "mode")?.as_ref() {
                "required" => true,
                "auto" => false,
                _ => return None,
            };
            let allowed: Vec<Fields<'_>> = serde_json::from_str(fields.get("tools")?.get()).ok()?;
            let names = allowed.iter().map(|tool| {
                let is_known = matches!(member(tool, "type")?.as_ref(), "function" | "custom");
                member(tool, "name").filter(|_| is_known)
            });
            Some(ToolChoice::AnyOf { names: names.collect::<Option<_>>()?, is_required })
        }
        _ => None,
    }
}

/// Returns whether a name matches OpenAI's pattern.
pub fn is_name(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_known)
}

/// Checks a tool's name.
pub fn check_name(name: &str) -> Result<(), Untranslatable> {
    if !is_name(name) {
        let reason = format!("the tool name '{name}' must have 1 to 64 letters, digits, '_' or '-'");
        return Err(Untranslatable::new("tools", reason));
    }
    Ok(())
}

/// Writes the declared tools.
pub fn write(request: &Request<'_>) -> Result<Vec<Json<'static>>, Untranslatable> {
    let is_own = request.source == Format::Responses;
    request.tools.iter().map(|tool| write_tool(tool, is_own)).collect()
}

fn write_tool(tool: &Tool<'_>, is_own: bool) -> Result<Json<'static>, Untranslatable> {
    let mut object = Object::new();
    match tool {
        Tool::Function { name, description, parameters, strict, cache: _ } => {
            check_name(name)?;
            object.put("type", &"function");
            object.put("name", name);
            object.put_some("description", description.as_ref());
            match parameters {
                None if !is_own => object.put("parameters", &EmptySchema { kind: "object", properties: Nothing {} }),
                parameters => object.put_some("parameters", parameters.as_ref()),
            }
            // An absent `strict` means true here, and false elsewhere.
            object.put_some("strict", strict.or_else(|| (!is_own).then_some(false)).as_ref());
        }
        Tool::Custom { name, description, format } => {
            check_name(name)?;
            object.put("type", &"custom");
            object.put("name", name);
            object.put_some("description", description.as_ref());
            object.put_some("format", format.as_ref().map(flat).as_ref());
        }
        Tool::Opaque { format: Format::Responses, raw } => return Ok(raw.clone().into_owned()),
        Tool::Opaque { format: Format::Chat | Format::Messages | Format::Generate | Format::Embeddings(_), raw } => {
            let foreign = || "a tool of one vendor goes only to that vendor; declare a function".to_owned();
            return Err(Untranslatable::new("tools", own_member(raw).unwrap_or_else(foreign)));
        }
    }
    Ok(object.into_json())
}

#[derive(Serialize)]
struct EmptySchema {
    #[serde(rename = "type")]
    kind: &'static str,
    properties: Nothing,
}

#[derive(Serialize)]
struct Nothing {}

/// Returns the format of a custom tool with its grammar beside its type. Chat puts the grammar one level deeper.
fn flat(format: &Json<'_>) -> Json<'static> {
    let nested = || {
        let fields = Fields::parse(format.get().as_bytes()).ok()?;
        let grammar = Fields::parse(present(&fields, "grammar")?.get().as_bytes()).ok()?;
        let mut object = Object::new();
        object.put("type", &"grammar");
        for (name, raw) in &grammar.0 {
            object.put(name, raw);
        }
        Some(object.into_json())
    };
    nested().unwrap_or_else(|| format.clone().into_owned())
}

#[derive(Serialize)]
#[serde(untagged)]
pub enum Choice<'a> {
    Word(&'static str),
    Tool {
        #[serde(rename = "type")]
        kind: &'static str,
        name: &'a str,
    },
    Some {
        #[serde(rename = "type")]
        kind: &'static str,
        mode: &'static str,
        tools: Vec<Choice<'a>>,
    },
}

/// Returns the choice of a tool as it is written.
pub fn choice<'a>(choice: &'a ToolChoice<'_>, tools: &[Tool<'_>]) -> Choice<'a> {
    let custom: HashSet<&str> =
        tools.iter().filter_map(|tool| if let Tool::Custom { name, .. } = tool { Some(name.as_ref()) } else { None }).collect();
    let named = |name: &'a Text<'_>| Choice::Tool { kind: if custom.contains(name.as_ref()) { "custom" } else { "function" }, name };
    match choice {
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Required => Choice::Word("required"),
        ToolChoice::Tool(name) => named(name),
        ToolChoice::AnyOf { names, is_required } => Choice::Some {
            kind: "allowed_tools",
            mode: if *is_required { "required" } else { "auto" },
            tools: names.iter().map(named).collect(),
        },
    }
}
