//! Requests, read into the neutral form.

use serde_json::value::RawValue;

use super::calls::Calls;
use super::part;
use super::request::{CONFIG, service_tier, wrong};
use super::spelling::{each, named, text};
use super::{settings, tools};
use crate::call::{Format, RequestError};
use crate::chat::request::OWN_FIELDS;
use crate::fields::Fields;
use crate::neutral::{Json, Part, Reasoning, Request, Role, Text, Turn, Untranslatable, Vendor};

/// Reads a request from its members in camelCase.
///
/// # Errors
/// Fails if a field has a wrong value; the error names it.
pub fn read<'a>(fields: &Fields<'a>) -> Result<Request<'a>, RequestError> {
    let mut request = Request::new(Format::Generate);
    if let Some(raw) = fields.get("systemInstruction") {
        request.turns.push(system(raw)?);
    }
    if let Some(raw) = fields.get("contents") {
        contents(raw, &mut request.turns)?;
    }
    for (name, raw) in &fields.0 {
        match name.as_ref() {
            "model" | "contents" | "systemInstruction" => {}
            CONFIG => settings::read(raw, &mut request)?,
            "tools" => tools::read(raw, &mut request)?,
            "toolConfig" => tools::config(raw, &mut request)?,
            "serviceTier" => request.settings.service_tier = service_tier(fields)?.map(Text::Owned),
            name if OWN_FIELDS.contains(&name) => {}
            _ => extra("", name, raw, &mut request)?,
        }
    }
    Ok(request)
}

/// Keeps a member that only this format has, under its path.
///
/// # Errors
/// Fails if the name would be read as a path.
pub fn extra<'a>(path: &str, name: &Text<'a>, raw: &'a RawValue, request: &mut Request<'a>) -> Result<(), RequestError> {
    if name.contains('.') {
        return Err(Untranslatable::new(name.clone().into_owned(), "there is no such field; leave it out").into());
    }
    let name = if path.is_empty() { name.clone() } else { format!("{path}.{name}").into() };
    request.extras.push((name, Json::from(raw)));
    Ok(())
}

fn system(raw: &RawValue) -> Result<Turn<'_>, RequestError> {
    if let Some(text) = text(raw) {
        return Ok(Turn { role: Role::System, parts: vec![Part::text(text)], name: None });
    }
    let read = serde_json::from_str(raw.get()).ok().and_then(|fields| content(fields, false, &mut Calls::default()));
    let (_, parts) = read.ok_or_else(|| wrong("systemInstruction", "it must be an object with 'parts'"))?;
    Ok(Turn { role: Role::System, parts, name: None })
}

fn contents<'a>(raw: &'a RawValue, turns: &mut Vec<Turn<'a>>) -> Result<(), RequestError> {
    let fault = || wrong("contents", "it must be an array of objects, each with 'parts' and the role 'user' or 'model'");
    let mut calls = Calls::default();
    let mut are_valid = true;
    let read = each(raw, |fields| {
        let before = turns.last_mut().filter(|turn| turn.role == Role::Assistant);
        match (content(fields, before.is_some(), &mut calls), before) {
            (Some((Some(Role::Assistant), parts)), Some(before)) => join(parts, &mut before.parts),
            (Some((Some(role), parts)), _) => turns.push(Turn { role, parts, name: None }),
            (Some((None, _)) | None, _) => are_valid = false,
        }
    });
    if read.is_err() || !are_valid { Err(fault()) } else { Ok(()) }
}

/// Reads a content; the role is `None` if it is unknown. `is_continued` says that the model's turn has begun before.
fn content<'a>(fields: Fields<'a>, is_continued: bool, calls: &mut Calls) -> Option<(Option<Role>, Vec<Part<'a>>)> {
    let content = named(fields)?;
    let role = match content.get("role").map(text) {
        None => Some(Role::User),
        Some(role) => match role?.to_ascii_lowercase().as_str() {
            "" | "user" | "function" => Some(Role::User),
            "model" => Some(Role::Assistant),
            _ => None,
        },
    };
    if role == Some(Role::Assistant) && !is_continued {
        calls.turn();
    }
    let mut parts = Vec::new();
    if let Some(raw) = content.get("parts") {
        part::all(raw, calls, |part| add(part, &mut parts))?;
    }
    Some((role, parts))
}

/// Continues a turn of the model: SDKs keep each frame of a stream as a content of its own. A text or thought that the frames have split
/// becomes one again, unless it is signed.
fn join<'a>(parts: Vec<Part<'a>>, turn: &mut Vec<Part<'a>>) {
    for (at, part) in parts.into_iter().enumerate() {
        match (turn.last_mut().filter(|_| at == 0), part) {
            (_, Part::Text { text, signature: None, .. }) if text.is_empty() => {}
            (Some(Part::Text { text: before, signature: None, .. }), Part::Text { text, signature: None, .. }) => {
                before.to_mut().push_str(&text);
            }
            (
                Some(Part::Reasoning(Reasoning { text: before, signature: None, encrypted: None, .. })),
                Part::Reasoning(Reasoning { text, signature: None, encrypted: None, .. }),
            ) => before.to_mut().push_str(&text),
            (_, part) => add(part, turn),
        }
    }
}

/// Adds a part to a turn. A foreign signature stands on an empty thought after the pieces of the thought that it signs: they become one.
fn add<'a>(part: Part<'a>, parts: &mut Vec<Part<'a>>) {
    let Part::Reasoning(mut signed) = part else { return parts.push(part) };
    if signed.signature.as_ref().is_some_and(|signature| signature.vendor != Vendor::Google) {
        let is_piece = |part: &Part<'_>| matches!(part, Part::Reasoning(Reasoning { signature: None, encrypted: None, .. }));
        let start = parts.iter().rposition(|part| !is_piece(part)).map_or(0, |at| at + 1);
        let mut text = String::new();
        for piece in parts.drain(start..) {
            if let Part::Reasoning(piece) = piece {
                text.push_str(&piece.text);
            }
        }
        if !text.is_empty() {
            signed.text = (text + &signed.text).into();
        }
    }
    parts.push(Part::Reasoning(signed));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Addressed;
    use crate::generate::request;
    use crate::generate::signature;
    use crate::neutral::Signature;

    fn neutral(body: &str) -> Result<Request<'_>, RequestError> {
        request::read(body.as_bytes(), &Addressed { model: Some("m"), stream: false, is_count: false }).unwrap().1.neutral()
    }

    #[test]
    fn turns_and_their_calls_are_read() {
        let body = r#"{"system_instruction":{"parts":{"text":"s"}},"contents":[
            {"parts":[{"text":"u"}]},
            {"role":"model","parts":[{"functionCall":{"name":"f"}},{"functionCall":{"name":"f"}}]},
            {"role":"function","parts":[{"functionResponse":{"name":"f","response":{"output":"1"}}},{"functionResponse":{"name":"f","response":{"output":"2"}}}]}]}"#;
        let request = neutral(body).unwrap();
        let roles: Vec<Role> = request.turns.iter().map(|turn| turn.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);
        let ids: Vec<&str> = request.turns[3]
            .parts
            .iter()
            .map(|part| match part {
                Part::ToolResult(result) => result.call_id.as_ref(),
                Part::Text { .. } | Part::Refusal(_) | Part::Media(_) | Part::ToolCall(_) | Part::Reasoning(_) | Part::Opaque { .. } => "",
            })
            .collect();
        assert_eq!(ids, ["call_0_f", "call_1_f"]);
    }

    #[test]
    fn the_frames_of_a_stream_become_one_turn_again() {
        let foreign = Signature { vendor: Vendor::Anthropic, data: "c2lnbmVk".into() };
        let field = signature::wrapped(&foreign);
        let model = |part: &str| format!(r#"{{"role":"model","parts":[{part}]}}"#);
        let frames = [
            model(r#"{"text":"h","thought":true}"#),
            model(r#"{"text":"m","thought":true}"#),
            model(&format!(r#"{{"text":"","thought":true,"thoughtSignature":"{field}"}}"#)),
            model(r#"{"text":"Par"}"#),
            model(r#"{"text":"is."}"#),
            model(r#"{"text":"!","thoughtSignature":"YQ=="}"#),
            model(r#"{"functionCall":{"name":"f","id":"c"}}"#),
            model(r#"{"text":""}"#),
        ];
        let result = r#"{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"1"}}}]}"#;
        let body = format!(r#"{{"contents":[{},{result}]}}"#, frames.join(","));
        let request = neutral(&body).unwrap();
        let [model, user] = request.turns.as_slice() else { panic!("{request:?}") };
        let [Part::Reasoning(reasoning), first, Part::Text { signature: Some(_), .. }, Part::ToolCall(_)] = model.parts.as_slice() else {
            panic!("{model:?}")
        };
        assert_eq!((reasoning.text.as_ref(), &reasoning.signature, first), ("hm", &Some(foreign.clone()), &Part::text("Paris.")));
        assert!(matches!(&user.parts[0], Part::ToolResult(result) if result.call_id == "c"), "{user:?}");
    }

    #[test]
    fn unknown_fields_are_extras() {
        let body = r#"{"contents":[{"parts":[{"text":"u"}]}],"cached_content":"c","safetySettings":[],"labels":null,"models":["x"]}"#;
        let extras: Vec<String> = neutral(body).unwrap().extras.into_iter().map(|(name, _)| name.into_owned()).collect();
        assert_eq!(extras, ["cachedContent", "safetySettings"]);
        let path = r#"{"contents":[{"parts":[]}],"generationConfig.candidateCount":9}"#;
        assert_eq!(neutral(path).unwrap_err().param(), Some("generationConfig.candidateCount"));
    }

    #[test]
    fn wrong_contents_are_named() {
        for body in
            [r#"{"contents":[{"role":"system","parts":[]}]}"#, r#"{"contents":[{"role":7,"parts":[]}]}"#, r#"{"contents":[{"parts":7}]}"#]
        {
            assert_eq!(neutral(body).unwrap_err().param(), Some("contents"), "{body}");
        }
        let system = r#"{"contents":[{"parts":[]}],"systemInstruction":7}"#;
        assert_eq!(neutral(system).unwrap_err().param(), Some("systemInstruction"));
    }

    #[test]
    fn a_foreign_signature_takes_the_pieces_before_it() {
        let foreign = Signature { vendor: Vendor::Anthropic, data: "c2lnbmVk".into() };
        let field = signature::wrapped(&foreign);
        let body = format!(
            r#"{{"contents":[{{"role":"model","parts":[{{"text":"a"}},{{"text":"Hm","thought":true}},{{"text":"m","thought":true}},{{"text":"","thought":true,"thoughtSignature":"{field}"}}]}}]}}"#
        );
        let request = neutral(&body).unwrap();
        let [Part::Text { .. }, Part::Reasoning(reasoning)] = request.turns[0].parts.as_slice() else { panic!("{request:?}") };
        assert_eq!((reasoning.text.as_ref(), &reasoning.signature), ("Hmm", &Some(foreign.clone())));
        let native = body.replace(field.as_ref(), "YQ==");
        assert_eq!(neutral(&native).unwrap().turns[0].parts.len(), 4, "Google's parts stay apart");
    }
}
