//! Conversations, written from the neutral form: system turns apart, and the results of a turn's calls in one turn, in their order.

use std::collections::{HashMap, HashSet};

use super::body::{self, CallBody, ContentBody, PartBody, Piece, Response, ResultBody};
use super::calls;
use super::signature;
use super::thinking;
use super::write::conversation;
use crate::call::Format;
use crate::neutral::{Json, Part, Reasoning, Request, Role, Text, ToolCall, ToolResult, Turn, Untranslatable};

/// The signature that Google takes for calls of another vendor. Source: Google's guide to thought signatures.
const PLACEHOLDER: &str = "skip_thought_signature_validator";

/// Returns `systemInstruction` and `contents`. A request of the same format keeps its turns as they are.
///
/// # Errors
/// Fails if a turn cannot be expressed; the error names the conversation in the caller's format.
pub fn write(request: &Request<'_>, model: &str) -> Result<(Option<Json<'static>>, Json<'static>), Untranslatable> {
    let source = request.source;
    let is_system = |turn: &&Turn<'_>| matches!(turn.role, Role::System | Role::Developer);
    let system = system(request.turns.iter().filter(is_system), source)?;
    let rest: Vec<Turn<'_>> = request.turns.iter().filter(|turn| !is_system(turn)).cloned().collect();
    let rest = Request { turns: rest, ..Request::new(source) };
    let turns = if source == Format::Generate { rest.turns } else { rest.merged_turns() };
    let is_prompt = |turn: &Turn<'_>| turn.role == Role::User && turn.parts.iter().any(|part| !matches!(part, Part::ToolResult(_)));
    let current = turns.iter().rposition(is_prompt).unwrap_or(0);
    let mut writer = Writer { source, is_gemini_3: thinking::is_gemini_3(model), index: 0, without_id: HashSet::new() };
    let mut contents: Vec<ContentBody<'_>> = Vec::with_capacity(turns.len());
    let mut open: Vec<&ToolCall<'_>> = Vec::new();
    for (at, turn) in turns.iter().enumerate() {
        let content = match turn.role {
            Role::User => writer.user(turn, &std::mem::take(&mut open))?,
            Role::Assistant | Role::System | Role::Developer => {
                writer.closed(&open)?;
                open = turn.parts.iter().filter_map(call).collect();
                writer.assistant(turn, at > current)?
            }
        };
        if !content.parts.is_empty() {
            contents.push(content);
        }
    }
    writer.closed(&open)?;
    if contents.is_empty() {
        return Err(Untranslatable::new(conversation(source), "its API needs at least one turn of the user"));
    }
    Ok((system, Json::of(&contents)))
}

fn call<'t, 'a>(part: &'t Part<'a>) -> Option<&'t ToolCall<'a>> {
    match part {
        Part::ToolCall(call) => Some(call),
        Part::Text { .. } | Part::Refusal(_) | Part::Media(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => None,
    }
}

fn result<'t, 'a>(part: &'t Part<'a>) -> Option<&'t ToolResult<'a>> {
    match part {
        Part::ToolResult(result) => Some(result),
        Part::Text { .. } | Part::Refusal(_) | Part::Media(_) | Part::ToolCall(_) | Part::Reasoning(_) | Part::Opaque { .. } => None,
    }
}

/// Returns all system turns as one content, which takes text only.
fn system<'r>(turns: impl Iterator<Item = &'r Turn<'r>>, source: Format) -> Result<Option<Json<'static>>, Untranslatable> {
    let mut parts = Vec::new();
    for part in turns.flat_map(|turn| &turn.parts) {
        match part {
            Part::Text { text, .. } if text.is_empty() => {}
            Part::Text { text, .. } => parts.push(Piece::text(text, None)),
            Part::Opaque { format: Format::Generate, raw } => parts.push(Piece::Raw(raw)),
            Part::Refusal(_) | Part::Media(_) | Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => {
                let field = if source == Format::Generate { Text::Borrowed("systemInstruction") } else { conversation(source) };
                return Err(Untranslatable::new(field, "its system turns take text only"));
            }
        }
    }
    Ok((!parts.is_empty()).then(|| Json::of(&ContentBody { parts, role: None })))
}

struct Writer<'t> {
    source: Format,
    is_gemini_3: bool,
    /// The number of calls so far.
    index: usize,
    /// The ids of calls that are sent without them.
    without_id: HashSet<&'t str>,
}

impl<'t> Writer<'t> {
    fn refused(&self, reason: &'static str) -> Untranslatable {
        Untranslatable::new(conversation(self.source), reason)
    }

    /// Checks that no call waits for its result.
    fn closed(&self, open: &[&ToolCall<'_>]) -> Result<(), Untranslatable> {
        if open.is_empty() || self.source == Format::Generate {
            return Ok(());
        }
        Err(self.refused("each tool call needs exactly one result, in the turn after it"))
    }

    fn assistant(&mut self, turn: &'t Turn<'_>, is_current: bool) -> Result<ContentBody<'t>, Untranslatable> {
        let mut parts = Vec::with_capacity(turn.parts.len());
        let mut is_first = true;
        for part in &turn.parts {
            match part {
                Part::ToolCall(call) => {
                    let own = signature::native(call.signature.as_ref());
                    let needs_one = is_first && is_current && self.is_gemini_3;
                    is_first = false;
                    parts.push(self.call(call, own.or(needs_one.then_some(Text::Borrowed(PLACEHOLDER))))?);
                }
                Part::Text { .. } | Part::Refusal(_) | Part::Media(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => {
                    parts.extend(self.piece(part)?);
                }
            }
        }
        Ok(ContentBody { parts, role: Some("model") })
    }

    /// Writes a turn of the user after the calls of the model.
    fn user(&mut self, turn: &'t Turn<'_>, open: &[&'t ToolCall<'_>]) -> Result<ContentBody<'t>, Untranslatable> {
        let mut parts = Vec::with_capacity(turn.parts.len());
        let is_own = self.source == Format::Generate;
        if !is_own {
            let results: Vec<&ToolResult<'_>> = turn.parts.iter().filter_map(result).collect();
            let by_id: HashMap<&str, &ToolResult<'_>> = results.iter().map(|result| (result.call_id.as_ref(), *result)).collect();
            if results.len() != open.len() || by_id.len() != open.len() {
                return Err(self.refused("each tool call needs exactly one result, in the turn after it, and each result its call"));
            }
            for call in open {
                let fault = || self.refused("a tool result must refer to a call of the turn before it");
                parts.push(self.result(by_id.get(call.id.as_ref()).copied().ok_or_else(fault)?, &call.name)?);
            }
        }
        for part in &turn.parts {
            match part {
                Part::ToolResult(result) if is_own => parts.push(self.result(result, result.name.as_deref().unwrap_or_default())?),
                Part::ToolResult(_) => {}
                Part::ToolCall(call) if is_own => parts.push(self.call(call, signature::native(call.signature.as_ref()))?),
                Part::ToolCall(_) => return Err(self.refused("a tool call must stand in a turn of the model")),
                Part::Text { .. } | Part::Refusal(_) | Part::Media(_) | Part::Reasoning(_) | Part::Opaque { .. } => {
                    parts.extend(self.piece(part)?);
                }
            }
        }
        Ok(ContentBody { parts, role: Some("user") })
    }

    /// Returns a part that is neither a call nor a result; `None` if it says nothing.
    fn piece(&self, part: &'t Part<'_>) -> Result<Option<Piece<'t>>, Untranslatable> {
        let is_own = self.source == Format::Generate;
        Ok(match part {
            Part::Text { text, signature, .. } => {
                let signature = signature::native(signature.as_ref());
                (is_own || signature.is_some() || !text.is_empty()).then(|| Piece::text(text, signature))
            }
            Part::Refusal(text) => (!text.is_empty()).then(|| Piece::text(text, None)),
            Part::Media(media) => Some(body::media(media, self.source).map_err(|reason| self.refused(reason))?.into()),
            Part::Reasoning(Reasoning { text, signature, .. }) => {
                let signature = signature::native(signature.as_ref());
                (signature.is_some() || !text.is_empty()).then(|| Piece::thought(text, signature))
            }
            Part::Opaque { format: Format::Generate, raw } => Some(Piece::Raw(raw)),
            Part::Opaque { .. } => return Err(self.refused("it holds content that only another vendor's models can read")),
            Part::ToolCall(_) | Part::ToolResult(_) => return Err(self.refused("a tool result must stand in a turn of the user")),
        })
    }

    fn call(&mut self, call: &'t ToolCall<'_>, thought_signature: Option<Text<'t>>) -> Result<Piece<'t>, Untranslatable> {
        let args = body::arguments(call).ok_or_else(|| self.refused("the arguments of a tool call must be a JSON object"))?;
        let has_id = match self.source {
            Format::Generate => call.id != calls::made(self.index, &call.name),
            Format::Chat | Format::Responses | Format::Messages | Format::Embeddings(_) => self.is_gemini_3,
        };
        self.index += 1;
        if !has_id {
            self.without_id.insert(&call.id);
        }
        let function_call = Some(CallBody { id: has_id.then_some(call.id.as_ref()), name: &call.name, args });
        Ok(PartBody { function_call, thought_signature, ..PartBody::default() }.into())
    }

    fn result(&self, result: &'t ToolResult<'_>, name: &'t str) -> Result<Piece<'t>, Untranslatable> {
        let mut texts: Vec<&str> = Vec::new();
        let mut parts = Vec::new();
        for part in &result.content {
            match part {
                Part::Text { text, .. } | Part::Refusal(text) => texts.push(text),
                Part::Media(media) if self.is_gemini_3 || self.source == Format::Generate => {
                    parts.push(body::media(media, self.source).map_err(|reason| self.refused(reason))?.into());
                }
                Part::Media(_) => return Err(self.refused("before Gemini 3 a tool result takes text only")),
                Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => {
                    return Err(self.refused("a tool result takes text and media only"));
                }
            }
        }
        let text = texts.join("\n");
        let response = if result.is_error { Response::Error(text) } else { Response::Output(text) };
        let id = (!self.without_id.contains(result.call_id.as_ref())).then_some(result.call_id.as_ref());
        Ok(PartBody { function_response: Some(ResultBody { id, name, response, parts }), ..PartBody::default() }.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::neutral::{Media, MediaKind, Signature, Source, Vendor};

    fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
        Turn { role, parts, name: None }
    }

    fn call(id: &'static str, name: &'static str) -> Part<'static> {
        Part::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: "".into(), is_custom: false, signature: None, cache: None })
    }

    fn result(id: &'static str, text: &'static str) -> Part<'static> {
        let content = vec![Part::text(text)];
        Part::ToolResult(ToolResult { call_id: id.into(), name: None, content, is_error: false, is_custom: false, cache: None })
    }

    fn of(source: Format, turns: Vec<Turn<'static>>, model: &str) -> Result<Value, Untranslatable> {
        write(&Request { turns, ..Request::new(source) }, model).map(|(_, contents)| contents.value())
    }

    fn user() -> Turn<'static> {
        turn(Role::User, vec![Part::text("x")])
    }

    #[test]
    fn results_stand_in_one_turn_in_the_order_of_their_calls() {
        let turns = || {
            vec![
                user(),
                turn(Role::Assistant, vec![Part::text("")]),
                turn(Role::Assistant, vec![call("a", "f"), call("b", "g")]),
                turn(Role::User, vec![result("b", "2")]),
                turn(Role::User, vec![Part::text("y"), result("a", "1")]),
            ]
        };
        let response = |name: &str, text: &str| json!({"functionResponse": {"name": name, "response": {"output": text}}});
        assert_eq!(
            of(Format::Chat, turns(), "gemini-2.5-flash").unwrap(),
            json!([
                {"role": "user", "parts": [{"text": "x"}]},
                {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}, {"functionCall": {"name": "g", "args": {}}}]},
                {"role": "user", "parts": [response("f", "1"), response("g", "2"), {"text": "y"}]},
            ])
        );
        let newer = of(Format::Chat, turns(), "gemini-3-pro").unwrap();
        assert_eq!(newer[1]["parts"][1]["functionCall"]["id"], "b");
        assert_eq!(newer[2]["parts"][1]["functionResponse"]["id"], "b");
    }

    #[test]
    fn calls_and_results_that_do_not_match_are_refused() {
        let calls = || turn(Role::Assistant, vec![call("a", "f"), call("b", "g")]);
        for (source, field) in [(Format::Chat, "messages"), (Format::Messages, "messages"), (Format::Responses, "input")] {
            for rest in [
                vec![],
                vec![turn(Role::User, vec![result("a", "1")])],
                vec![turn(Role::User, vec![result("a", "1"), result("c", "2")])],
                vec![turn(Role::User, vec![result("a", "1"), result("a", "2")])],
                vec![turn(Role::User, vec![result("a", "1"), result("b", "2"), result("c", "3")])],
                vec![turn(Role::User, vec![Part::text("y")]), turn(Role::User, vec![])],
            ] {
                let turns = [vec![user(), calls()], rest].concat();
                assert_eq!(of(source, turns.clone(), "m").unwrap_err().field, field, "{turns:?}");
            }
        }
        let orphan = vec![user(), turn(Role::Assistant, vec![Part::text("y")]), turn(Role::User, vec![result("a", "1")])];
        assert!(of(Format::Chat, orphan, "m").is_err());
    }

    #[test]
    fn the_first_call_of_a_step_in_the_current_turn_is_signed() {
        let signed = |vendor| {
            let signature = Some(Signature { vendor, data: "YQ==".into() });
            let call = ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into(), is_custom: false, signature, cache: None };
            turn(Role::Assistant, vec![Part::ToolCall(call)])
        };
        let turns = |third: Turn<'static>| {
            vec![
                user(),
                turn(Role::Assistant, vec![call("a", "f")]),
                turn(Role::User, vec![result("a", "1"), Part::text("next")]),
                turn(Role::Assistant, vec![call("a", "f"), call("b", "f")]),
                turn(Role::User, vec![result("a", "1"), result("b", "1")]),
                third,
                turn(Role::User, vec![result("c", "1")]),
            ]
        };
        let signatures = |contents: &Value| {
            let parts = contents.as_array().unwrap().iter().flat_map(|content| content["parts"].as_array().unwrap());
            let calls = parts.filter(|part| part.get("functionCall").is_some());
            calls.map(|part| part.get("thoughtSignature").map(|text| text.as_str().unwrap().to_owned())).collect::<Vec<_>>()
        };
        let own = of(Format::Chat, turns(signed(Vendor::Google)), "gemini-3-flash").unwrap();
        assert_eq!(signatures(&own), [None, Some(PLACEHOLDER.to_owned()), None, Some("YQ==".to_owned())]);
        let foreign = of(Format::Chat, turns(signed(Vendor::Anthropic)), "gemini-3-flash").unwrap();
        assert_eq!(signatures(&foreign)[3].as_deref(), Some(PLACEHOLDER));
        let older = of(Format::Chat, turns(signed(Vendor::Anthropic)), "gemini-2.5-flash").unwrap();
        assert_eq!(signatures(&older), [None, None, None, None]);
    }

    #[test]
    fn ids_of_the_same_format_are_sent_only_if_the_caller_gave_them() {
        let own = |id: &'static str| vec![user(), turn(Role::Assistant, vec![call(id, "f")]), turn(Role::User, vec![result(id, "1")])];
        let explicit = of(Format::Generate, own("own"), "m").unwrap();
        assert_eq!(explicit[1]["parts"][0]["functionCall"]["id"], "own");
        assert_eq!(explicit[2]["parts"][0]["functionResponse"]["id"], "own");
        let made = of(Format::Generate, own("call_0_f"), "gemini-3-pro").unwrap();
        assert_eq!(made[1]["parts"][0]["functionCall"].get("id"), None);
        assert_eq!(made[2]["parts"][0]["functionResponse"].get("id"), None);
    }

    #[test]
    fn system_turns_are_folded_and_take_text_only() {
        let turns = vec![turn(Role::System, vec![Part::text("a")]), user(), turn(Role::Developer, vec![Part::text("b")])];
        let (system, contents) = write(&Request { turns, ..Request::new(Format::Chat) }, "m").unwrap();
        assert_eq!(system.unwrap().value(), json!({"parts": [{"text": "a"}, {"text": "b"}]}));
        assert_eq!(contents.value().as_array().unwrap().len(), 1);
        assert_eq!(of(Format::Chat, vec![turn(Role::System, vec![Part::text("a")])], "m").unwrap_err().field, "messages");
        assert!(of(Format::Chat, vec![turn(Role::System, vec![call("a", "f")]), user()], "m").is_err());
    }

    #[test]
    fn media_go_by_their_source() {
        let media = |source, mime: Option<&'static str>| {
            let mime = mime.map(Text::Borrowed);
            let media = Media { kind: MediaKind::Image, source, mime, name: Some("n".into()), detail: None, cache: None };
            of(Format::Chat, vec![turn(Role::User, vec![Part::Media(media)])], "m").map(|contents| contents[0]["parts"][0].clone())
        };
        let inline = json!({"inlineData": {"mimeType": "image/png", "data": "aGk="}});
        assert_eq!(media(Source::Base64("aGk=".into()), Some("image/png")).unwrap(), inline);
        assert_eq!(media(Source::Url("https://x/y".into()), None).unwrap(), json!({"fileData": {"fileUri": "https://x/y"}}));
        assert_eq!(media(Source::Text("hi".into()), None).unwrap(), json!({"inlineData": {"mimeType": "text/plain", "data": "aGk="}}));
        assert!(media(Source::Base64("aGk=".into()), None).is_err());
        assert!(media(Source::File { format: Format::Chat, id: "f".into() }, None).is_err());
    }

    #[test]
    fn results_take_media_from_gemini_3_on() {
        let image = Media {
            kind: MediaKind::Image,
            source: Source::Base64("aGk=".into()),
            mime: Some("image/png".into()),
            name: None,
            detail: None,
            cache: None,
        };
        let content = vec![Part::text("a"), Part::text("b"), Part::Media(image)];
        let result = ToolResult { call_id: "a".into(), name: None, content, is_error: true, is_custom: false, cache: None };
        let turns = vec![user(), turn(Role::Assistant, vec![call("a", "f")]), turn(Role::User, vec![Part::ToolResult(result)])];
        let newer = of(Format::Messages, turns.clone(), "gemini-3-pro").unwrap();
        assert_eq!(
            newer[2]["parts"][0]["functionResponse"],
            json!({"id": "a", "name": "f", "response": {"error": "a\nb"}, "parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]})
        );
        assert_eq!(of(Format::Messages, turns, "gemini-2.5-pro").unwrap_err().field, "messages");
    }

    #[test]
    fn foreign_content_is_refused_and_foreign_signatures_are_left_out() {
        let code = json!({"executableCode": {"language": "PYTHON", "code": "1"}});
        let own = Part::Opaque { format: Format::Generate, raw: Json::of(&code) };
        assert_eq!(of(Format::Generate, vec![turn(Role::Assistant, vec![own])], "m").unwrap()[0]["parts"][0], code);
        let opaque = Part::Opaque { format: Format::Messages, raw: Json::of(&1) };
        assert!(of(Format::Messages, vec![turn(Role::User, vec![opaque])], "m").is_err());
        let signature = Some(Signature { vendor: Vendor::Anthropic, data: "YQ==".into() });
        let thought = Part::Reasoning(Reasoning { text: "h".into(), signature: signature.clone(), ..Reasoning::default() });
        let redacted = Part::Reasoning(Reasoning { encrypted: signature, ..Reasoning::default() });
        let contents =
            of(Format::Messages, vec![user(), turn(Role::Assistant, vec![thought, redacted, Part::Refusal("no".into())])], "m").unwrap();
        assert_eq!(contents[1]["parts"], json!([{"text": "h", "thought": true}, {"text": "no"}]));
        let broken = ToolCall { id: "a".into(), name: "f".into(), arguments: "{".into(), is_custom: false, signature: None, cache: None };
        let custom = ToolCall { is_custom: true, arguments: "free".into(), ..broken.clone() };
        let turns = |call| vec![user(), turn(Role::Assistant, vec![Part::ToolCall(call)]), turn(Role::User, vec![result("a", "1")])];
        assert_eq!(of(Format::Chat, turns(broken), "m").unwrap_err().field, "messages");
        let contents = of(Format::Chat, turns(custom), "m").unwrap();
        assert_eq!(contents[1]["parts"][0]["functionCall"]["args"], json!({"input": "free"}));
    }
}
