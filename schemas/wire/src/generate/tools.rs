//! Tools and the choice among them, read into the neutral form.

use serde_json::value::RawValue;

use super::read::extra;
use super::request::wrong;
use super::schema;
use super::spelling::{list, named, object, text, text_of, try_each};
use crate::call::{Format, RequestError};
use crate::fields::{Fields, quoted};
use crate::neutral::{Json, Request, Text, Tool, ToolChoice};

const CALLING: &str = "toolConfig.functionCallingConfig";

/// Reads the tools. The caller's declarations are kept for the same format if they say more than the neutral form.
///
/// # Errors
/// Fails if a tool is no object or a function is not valid.
pub fn read<'a>(raw: &'a RawValue, request: &mut Request<'a>) -> Result<(), RequestError> {
    let mut is_kept = false;
    try_each(raw, |tool| one(tool, request).map(|keeps| is_kept |= keeps))
        .unwrap_or_else(|_| Err(wrong("tools", "it must be an array of objects")))?;
    if is_kept {
        extra("", &"tools".into(), raw, request)?;
    }
    Ok(())
}

/// Reads a tool. Returns whether its declarations say more than the neutral form.
fn one<'a>(tool: Fields<'a>, request: &mut Request<'a>) -> Result<bool, RequestError> {
    let tool = named(tool).ok_or_else(|| wrong("tools", "no member may be given twice"))?;
    let mut is_kept = false;
    for (name, raw) in &tool.0 {
        if name == "functionDeclarations" {
            try_each(raw, |declaration| function(declaration, request).map(|keeps| is_kept |= keeps))
                .unwrap_or_else(|_| Err(wrong("tools", "'functionDeclarations' must be an array of objects")))?;
            continue;
        }
        let own = Json::parse(&format!("{{{}:{}}}", quoted(name), raw.get()));
        request.tools.extend(own.map(|raw| Tool::Opaque { format: Format::Generate, raw }));
    }
    Ok(is_kept)
}

fn function<'a>(function: Fields<'a>, request: &mut Request<'a>) -> Result<bool, RequestError> {
    let fault = |message: &str| wrong("tools", message);
    let function = named(function).ok_or_else(|| fault("no member of a function declaration may be given twice"))?;
    let name = text_of(&function, "name").ok_or_else(|| fault("each function declaration must have a 'name'"))?;
    let mut parameters = None;
    let mut is_kept = false;
    for (member, raw) in &function.0 {
        match member.as_ref() {
            "name" | "description" => {}
            "parametersJsonSchema" => parameters = Some(Json::from(*raw)),
            "parameters" => {
                is_kept = true;
                let schema = schema::converted(raw).ok_or_else(|| fault("'parameters' must be a schema, and not nested too deeply"))?;
                parameters = parameters.or(Some(schema));
            }
            _ => {
                is_kept = true;
                extra("tools.functionDeclarations", member, raw, request)?;
            }
        }
    }
    let description = text_of(&function, "description");
    request.tools.push(Tool::Function { name, description, parameters, strict: None, cache: None });
    Ok(is_kept)
}

/// Reads `toolConfig`.
///
/// # Errors
/// Fails if it is not valid.
pub fn config<'a>(raw: &'a RawValue, request: &mut Request<'a>) -> Result<(), RequestError> {
    let config = object(raw).ok_or_else(|| wrong("toolConfig", "it must be an object"))?;
    for (name, raw) in &config.0 {
        if name == "functionCallingConfig" {
            calling(raw, request)?;
        } else {
            extra("toolConfig", name, raw, request)?;
        }
    }
    Ok(())
}

fn calling<'a>(raw: &'a RawValue, request: &mut Request<'a>) -> Result<(), RequestError> {
    let calling = object(raw).ok_or_else(|| wrong(CALLING, "it must be an object"))?;
    let mut mode = None;
    let mut names: Vec<Text<'a>> = Vec::new();
    for (name, raw) in &calling.0 {
        match name.as_ref() {
            "mode" => mode = Some((raw, text(raw).unwrap_or_default().to_ascii_uppercase())),
            "allowedFunctionNames" => names = list(raw).into_iter().filter_map(text).collect(),
            _ => extra(CALLING, name, raw, request)?,
        }
    }
    let Some((raw, mode)) = mode else { return Ok(()) };
    request.tool_choice = match mode.as_str() {
        "MODE_UNSPECIFIED" => None,
        "AUTO" => Some(ToolChoice::Auto),
        "NONE" => Some(ToolChoice::None),
        "ANY" => Some(match <[Text<'a>; 1]>::try_from(names) {
            Ok([name]) => ToolChoice::Tool(name),
            Err(names) if names.is_empty() => ToolChoice::Required,
            Err(names) => ToolChoice::AnyOf { names, is_required: true },
        }),
        "VALIDATED" if names.is_empty() => {
            extra(CALLING, &"mode".into(), raw, request)?;
            Some(ToolChoice::Auto)
        }
        "VALIDATED" => Some(ToolChoice::AnyOf { names, is_required: false }),
        _ => return Err(wrong("toolConfig.functionCallingConfig.mode", "it must be AUTO, ANY, NONE or VALIDATED")),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &'static RawValue {
        Box::leak(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn declarations_are_read_in_both_spellings_and_dialects() {
        let mut request = Request::new(Format::Generate);
        let tools = r#"[{"function_declarations":[{"name":"f","parameters_json_schema":{"type":"object"}}]},{"google_search":{"a":1}}]"#;
        read(raw(tools), &mut request).unwrap();
        let [Tool::Function { name, parameters, .. }, Tool::Opaque { raw: own, .. }] = request.tools.as_slice() else { panic!() };
        assert_eq!(
            (name.as_ref(), parameters.as_ref().unwrap().get(), own.get()),
            ("f", r#"{"type":"object"}"#, r#"{"googleSearch":{"a":1}}"#)
        );
        assert!(request.extras.is_empty());
        let mut request = Request::new(Format::Generate);
        read(raw(r#"[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"},"behavior":"BLOCKING"}]}]"#), &mut request)
            .unwrap();
        let names: Vec<&str> = request.extras.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["tools.functionDeclarations.behavior", "tools"]);
        let [Tool::Function { parameters: Some(parameters), .. }] = request.tools.as_slice() else { panic!() };
        assert_eq!(parameters.get(), r#"{"type":"object"}"#);
    }

    #[test]
    fn every_mode_has_its_choice() {
        let choice = |calling: &str| {
            let mut request = Request::new(Format::Generate);
            config(raw(&format!(r#"{{"function_calling_config":{calling}}}"#)), &mut request).map(|()| request.tool_choice)
        };
        assert_eq!(choice(r#"{"mode":"auto"}"#).unwrap(), Some(ToolChoice::Auto));
        assert_eq!(choice(r#"{"mode":"VALIDATED"}"#).unwrap(), Some(ToolChoice::Auto));
        assert_eq!(choice(r#"{"mode":"NONE"}"#).unwrap(), Some(ToolChoice::None));
        assert_eq!(choice(r#"{"mode":"ANY"}"#).unwrap(), Some(ToolChoice::Required));
        assert_eq!(choice(r#"{"mode":"ANY","allowed_function_names":["f"]}"#).unwrap(), Some(ToolChoice::Tool("f".into())));
        let names = vec![Text::Borrowed("f"), Text::Borrowed("g")];
        let both = |is_required| Some(ToolChoice::AnyOf { names: names.clone(), is_required });
        assert_eq!(choice(r#"{"mode":"ANY","allowedFunctionNames":["f","g"]}"#).unwrap(), both(true));
        assert_eq!(choice(r#"{"mode":"VALIDATED","allowedFunctionNames":["f","g"]}"#).unwrap(), both(false));
        assert_eq!(choice("{}").unwrap(), None);
        assert!(choice(r#"{"mode":"SOME"}"#).is_err());
    }

    #[test]
    fn wrong_tools_are_named() {
        for tools in ["7", "[7]", r#"[{"functionDeclarations":[{}]}]"#, r#"[{"functionDeclarations":[{"name":"f","parameters":7}]}]"#] {
            let error = read(raw(tools), &mut Request::new(Format::Generate)).unwrap_err();
            assert_eq!(error.param(), Some("tools"), "{tools}");
        }
    }
}
