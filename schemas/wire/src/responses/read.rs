//! Requests, read into the neutral form.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::items::{self, Item, member, text};
use super::request::wrong;
use super::tools;
use crate::call::{Format, RequestError};
use crate::chat::request::OWN_FIELDS;
use crate::fields::Fields;
use crate::neutral::{
    Effort, Json, Level, OutputFormat, Part, Reasoning, Request, Role, Settings, Signature, Text, ToolCall, Turn, Vendor,
};

/// Fields that the gateway acts on by itself, and fields that were checked to ask for nothing.
const DONE: [&str; 9] =
    ["model", "stream", "store", "background", "previous_response_id", "conversation", "prompt", "instructions", "input"];
/// The element of `include` that asks for the probabilities of tokens.
pub(super) const INCLUDE_LOGPROBS: &str = "message.output_text.logprobs";
/// A prefix of the names of fields inside `reasoning` that only this format has.
pub(super) const REASONING: &str = "reasoning.";
/// A prefix of the names of fields inside `text` that only this format has.
pub(super) const TEXT: &str = "text.";

type Extras<'a> = Vec<(Text<'a>, Json<'a>)>;

/// Reads a request.
pub fn request<'a>(fields: &Fields<'a>) -> Result<Request<'a>, RequestError> {
    let mut request = Request::new(Format::Responses);
    request.turns = turns(fields)?;
    let (settings, extras) = (&mut request.settings, &mut request.extras);
    let mut wants_logprobs = false;
    for (name, raw) in fields.0.iter().filter(|(_, raw)| raw.get() != "null") {
        match name.as_ref() {
            name if DONE.contains(&name) || OWN_FIELDS.contains(&name) => {}
            "max_output_tokens" => settings.output_tokens_max = value(raw, "max_output_tokens", "a whole number")?,
            "temperature" => settings.temperature = value(raw, "temperature", "a number")?,
            "top_p" => settings.top_p = value(raw, "top_p", "a number")?,
            "top_logprobs" => settings.logprobs = value(raw, "top_logprobs", "a whole number")?,
            "parallel_tool_calls" => request.parallel_tool_calls = value(raw, "parallel_tool_calls", "true or false")?,
            "user" => settings.user = text(raw),
            "service_tier" => settings.service_tier = text(raw),
            "tools" => request.tools = tools::read(raw)?,
            "tool_choice" => match tools::read_choice(raw) {
                Some(choice) => request.tool_choice = Some(choice),
                None => extras.push((name.clone(), (*raw).into())),
            },
            "text" => text_config(raw, settings, extras)?,
            "reasoning" => reasoning(raw, settings, extras)?,
            "include" => {
                let include: Vec<String> = value(raw, "include", "an array of strings")?;
                wants_logprobs = include.iter().any(|element| element == INCLUDE_LOGPROBS);
                extras.push((name.clone(), (*raw).into()));
            }
            _ => extras.push((name.clone(), (*raw).into())),
        }
    }
    if wants_logprobs {
        settings.logprobs.get_or_insert(0);
    }
    Ok(request)
}

fn value<T: DeserializeOwned>(raw: &RawValue, field: &'static str, kind: &str) -> Result<T, RequestError> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(field, format_args!("it must be {kind}")))
}

fn object<'a>(raw: &'a RawValue, field: &'static str) -> Result<Fields<'a>, RequestError> {
    Fields::parse(raw.get().as_bytes()).map_err(|_| wrong(field, "it must be an object"))
}

fn text_config<'a>(raw: &'a RawValue, settings: &mut Settings<'a>, extras: &mut Extras<'a>) -> Result<(), RequestError> {
    for (name, raw) in object(raw, "text")?.0.iter().filter(|(_, raw)| raw.get() != "null") {
        let is_typed = match name.as_ref() {
            "format" => output(raw).map(|output| settings.output = output),
            "verbosity" => text(raw).map(|verbosity| settings.verbosity = Some(verbosity)),
            _ => None,
        };
        if is_typed.is_none() {
            extras.push((format!("{TEXT}{name}").into(), (*raw).into()));
        }
    }
    Ok(())
}

/// Reads the format of the answer's text; `None` if only this API knows it.
fn output(raw: &RawValue) -> Option<OutputFormat<'_>> {
    let fields = Fields::parse(raw.get().as_bytes()).ok()?;
    match member(&fields, "type")?.as_ref() {
        "text" => Some(OutputFormat::Text),
        "json_object" => Some(OutputFormat::Json),
        "json_schema" => Some(OutputFormat::Schema {
            name: member(&fields, "name"),
            description: member(&fields, "description"),
            schema: items::present(&fields, "schema")?.into(),
            strict: fields.read("strict").ok()?,
        }),
        _ => None,
    }
}

fn reasoning<'a>(raw: &'a RawValue, settings: &mut Settings<'a>, extras: &mut Extras<'a>) -> Result<(), RequestError> {
    for (name, raw) in object(raw, "reasoning")?.0.iter().filter(|(_, raw)| raw.get() != "null") {
        let word = text(raw);
        let is_typed = match (name.as_ref(), word.as_deref()) {
            ("effort", Some(word)) => {
                let level = if word == "none" { Some(Level::Off) } else { Effort::parse(word).map(Level::Effort) };
                settings.reasoning = level;
                level.is_some()
            }
            ("summary" | "generate_summary", Some(word)) => {
                settings.shows_reasoning = Some(true);
                name == "summary" && word == "auto"
            }
            _ => false,
        };
        if !is_typed {
            extras.push((format!("{REASONING}{name}").into(), (*raw).into()));
        }
    }
    Ok(())
}

/// Reads the conversation.
fn turns<'a>(fields: &Fields<'a>) -> Result<Vec<Turn<'a>>, RequestError> {
    let mut turns = Turns::default();
    if let Some(instructions) = member(fields, "instructions") {
        turns.start(Role::System, vec![Part::text(instructions)]);
    }
    let raw = items::present(fields, "input").ok_or_else(|| wrong("input", "it is required"))?;
    if let Some(plain) = text(raw) {
        turns.start(Role::User, vec![Part::text(plain)]);
        return Ok(turns.all);
    }
    let fault = || wrong("input", "each item must be an object with a known 'role' or another 'type' than message");
    let raws: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| fault())?;
    for raw in raws {
        turns.add(items::read(raw).ok_or_else(fault)?);
    }
    turns.settle();
    Ok(turns.all)
}

/// The turns that the items read so far make. The items of one step of the model make one turn, and so do the results of its calls.
#[derive(Debug, Default)]
struct Turns<'a> {
    all: Vec<Turn<'a>>,
    /// Google's signature of the next call or text.
    signature: Option<Signature<'a>>,
}

impl<'a> Turns<'a> {
    fn add(&mut self, item: Item<'a>) {
        match item {
            Item::Message { role: Role::Assistant, mut parts, logprobs: _ } => {
                if let Some(first) = parts.first_mut() {
                    self.sign(first);
                }
                let has_message = |part: &Part<'_>| matches!(part, Part::Text { .. } | Part::Refusal(_));
                match self.all.last_mut() {
                    Some(last) if last.role == Role::Assistant && !last.parts.iter().any(has_message) => last.parts.extend(parts),
                    Some(_) | None => self.start(Role::Assistant, parts),
                }
            }
            Item::Message { role, parts, logprobs: _ } => {
                self.settle();
                self.start(role, parts);
            }
            Item::Call(call) => {
                let mut part = Part::ToolCall(call);
                self.sign(&mut part);
                self.join(Role::Assistant, part);
            }
            Item::Result(result) => {
                self.settle();
                self.join(Role::User, Part::ToolResult(result));
            }
            Item::Reasoning(all) => {
                for reasoning in all {
                    self.reason(reasoning);
                }
            }
            Item::Opaque(role, raw) => {
                self.settle();
                self.join(role, Part::Opaque { format: Format::Responses, raw: raw.into() });
            }
        }
    }

    fn reason(&mut self, mut reasoning: Reasoning<'a>) {
        match reasoning.encrypted.take() {
            Some(signature) if signature.vendor == Vendor::Google && reasoning.text.is_empty() => {
                self.settle();
                self.signature = Some(signature);
            }
            encrypted => {
                reasoning.encrypted = encrypted;
                self.join(Role::Assistant, Part::Reasoning(reasoning));
            }
        }
    }

    /// Gives the waiting signature to the next call or text.
    fn sign(&mut self, next: &mut Part<'a>) {
        if let Part::Text { signature, .. } | Part::ToolCall(ToolCall { signature, .. }) = next {
            *signature = self.signature.take();
        }
        self.settle();
    }

    /// Puts a signature that nothing waits for on an empty text, as Google sends it.
    fn settle(&mut self) {
        if let Some(waiting) = self.signature.take() {
            self.join(Role::Assistant, Part::Text { text: "".into(), citations: Vec::new(), cache: None, signature: Some(waiting) });
        }
    }

    fn start(&mut self, role: Role, parts: Vec<Part<'a>>) {
        self.all.push(Turn { role, parts, name: None });
    }

    /// Appends a part to the turn of the model, or of its results; begins one if another is the last.
    fn join(&mut self, role: Role, part: Part<'a>) {
        let is_result = |part: &Part<'_>| matches!(part, Part::ToolResult(_) | Part::Opaque { .. });
        match self.all.last_mut() {
            Some(last) if last.role == role && (role == Role::Assistant || last.parts.last().is_some_and(is_result)) => {
                last.parts.push(part);
            }
            Some(_) | None => self.start(role, vec![part]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neutral::{Cache, Citation, MediaKind, Source, Tool, ToolChoice};

    fn read(rest: &str) -> Request<'_> {
        let fields: Fields<'_> = serde_json::from_str(rest).unwrap();
        request(&fields).unwrap()
    }

    fn with(rest: &str) -> String {
        format!(r#"{{"model":"b","input":"x",{rest}}}"#)
    }

    fn extras(request: &Request<'_>) -> Vec<(String, String)> {
        request.extras.iter().map(|(name, raw)| (name.to_string(), raw.get().to_owned())).collect()
    }

    #[test]
    fn items_of_one_step_make_one_turn() {
        let body = r#"{"input":[
            {"role":"user","content":"a"},{"role":"user","content":"b"},
            {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"s"},{"type":"summary_text","text":"t"}],"encrypted_content":"e"},
            {"type":"message","role":"assistant","id":"m","status":"completed","content":[{"type":"output_text","text":"c","annotations":[]}]},
            {"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"custom_tool_call","call_id":"2","name":"g","input":"i"},
            {"type":"function_call_output","call_id":"1","output":"x"},{"type":"custom_tool_call_output","call_id":"2","output":[{"type":"input_text","text":"y"}]},
            {"role":"user","content":"d"},
            {"role":"assistant","content":"e"},{"role":"assistant","content":"f"}]}"#;
        let request = read(body);
        let turns: Vec<_> = request.turns.iter().map(|turn| (turn.role, turn.parts.len())).collect();
        let (user, assistant) = (Role::User, Role::Assistant);
        assert_eq!(turns, [(user, 1), (user, 1), (assistant, 5), (user, 2), (user, 1), (assistant, 1), (assistant, 1)]);
        let [Part::Reasoning(first), Part::Reasoning(second), ..] = request.turns[2].parts.as_slice() else { panic!() };
        assert_eq!((first.text.as_ref(), first.is_summary, &first.encrypted), ("s", true, &None));
        assert_eq!((second.text.as_ref(), second.encrypted.as_ref().map(|proof| proof.vendor)), ("t", Some(Vendor::OpenAi)));
        assert_eq!((first.id.as_deref(), second.id.as_deref()), (Some("rs_1"), Some("rs_1")));
        assert!(matches!(&request.turns[3].parts[1], Part::ToolResult(result) if result.is_custom && result.content == [Part::text("y")]));
    }

    #[test]
    fn a_signature_before_a_call_or_a_text_belongs_to_it() {
        let google =
            |data: &str| format!(r#"{{"type":"reasoning","id":"r","summary":[],"encrypted_content":"arouter:google-gemini-v1:{data}"}}"#);
        let call = r#"{"type":"function_call","call_id":"1","name":"f","arguments":"{}"}"#;
        let text = r#"{"role":"assistant","content":"t"}"#;
        let user = r#"{"role":"user","content":"u"}"#;
        let signature = |data: &'static str| Some(Signature { vendor: Vendor::Google, data: data.into() });
        let body = format!(r#"{{"input":[{},{text},{},{call},{call},{},{user}]}}"#, google("a"), google("b"), google("c"));
        let request = read(&body);
        let [
            Part::Text { signature: of_text, .. },
            Part::ToolCall(first),
            Part::ToolCall(second),
            Part::Text { text, signature: last, .. },
        ] = request.turns[0].parts.as_slice()
        else {
            panic!("{request:?}")
        };
        assert_eq!((of_text, &first.signature, &second.signature, last), (&signature("a"), &signature("b"), &None, &signature("c")));
        assert_eq!((text.as_ref(), request.turns.len()), ("", 2));
        let body = format!(r#"{{"input":[{}]}}"#, google("d"));
        assert!(matches!(&read(&body).turns[0].parts[0], Part::Text { signature: Some(_), .. }), "at the end");
    }

    #[test]
    fn foreign_reasoning_is_unwrapped() {
        let item = |summary: &str| {
            let body = format!(
                r#"{{"input":[{{"type":"reasoning","summary":[{summary}],"encrypted_content":"arouter:anthropic-claude-v1:x"}}]}}"#
            );
            let request = read(&body);
            let Part::Reasoning(reasoning) = &request.turns[0].parts[0] else { panic!() };
            (reasoning.signature.as_ref().map(|proof| proof.vendor), reasoning.encrypted.as_ref().map(|proof| proof.vendor))
        };
        assert_eq!(item(r#"{"type":"summary_text","text":"t"}"#), (Some(Vendor::Anthropic), None));
        assert_eq!(item(r#"{"type":"summary_text","text":""}"#), (Some(Vendor::Anthropic), None), "a signed thought that is not shown");
        assert_eq!(item(""), (None, Some(Vendor::Anthropic)), "a redacted thought");
    }

    #[test]
    fn parts_and_vendor_items() {
        let body = r#"{"input":[{"role":"user","content":[
            {"type":"input_text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}},
            {"type":"input_text","text":"b","cache_control":{"type":"ephemeral","ttl":"1h"}},
            {"type":"input_image","image_url":"https://x/y.png","detail":"low"},{"type":"input_image","file_id":"f"},
            {"type":"input_file","file_url":"https://x/y.pdf"},{"type":"input_file","filename":"n","file_data":"eA=="}]},
            {"type":"message","role":"assistant","content":[{"type":"refusal","refusal":"no"},{"type":"output_text","text":"c","annotations":[
              {"type":"url_citation","url":"https://x","title":"t","start_index":0,"end_index":1},{"type":"file_path","file_id":"f","index":0}]}]},
            {"type":"web_search_call","id":"w"},{"type":"function_call","call_id":"1","name":"f","arguments":"{}","namespace":"n"},
            {"type":"computer_call_output","call_id":"1","output":{}},
            {"role":"user","content":[{"type":"input_audio"}]}]}"#;
        let request = read(body);
        let [
            Part::Text { cache: first, .. },
            Part::Text { cache: second, .. },
            Part::Media(url),
            Part::Media(file),
            Part::Media(pdf),
            Part::Media(bare),
        ] = request.turns[0].parts.as_slice()
        else {
            panic!("{request:?}")
        };
        assert_eq!((first, second), (&Some(Cache::Default), &Some(Cache::OneHour)));
        assert_eq!((&url.source, url.detail.as_deref()), (&Source::Url("https://x/y.png".into()), Some("low")));
        assert_eq!(file.source, Source::File { format: Format::Responses, id: "f".into() });
        assert_eq!((pdf.kind, &pdf.source), (MediaKind::Document, &Source::Url("https://x/y.pdf".into())));
        assert_eq!((&bare.source, bare.mime.is_none()), (&Source::Base64("eA==".into()), true));
        let assistant = &request.turns[1].parts;
        assert_eq!(assistant[0], Part::Refusal("no".into()));
        assert!(
            matches!(&assistant[1], Part::Text { citations, .. } if matches!(citations.as_slice(), [Citation::Url { end: Some(1), .. }, Citation::Opaque { .. }]))
        );
        assert!(assistant[2..].iter().all(|part| matches!(part, Part::Opaque { format: Format::Responses, .. })) && assistant.len() == 4);
        assert_eq!(request.turns[2].role, Role::User);
        assert!(matches!(request.turns[2].parts.as_slice(), [Part::Opaque { .. }, Part::Opaque { .. }]));
    }

    #[test]
    fn settings_are_typed_and_the_rest_is_kept_by_name() {
        let body = with(
            r#""top_logprobs":3,"include":["message.output_text.logprobs"],"reasoning":{"effort":"none","summary":"detailed","context":"auto","mode":"pro"},
            "text":{"verbosity":"low","format":{"type":"json_object"},"new":1},"metadata":{"a":"b"},"user":"u","service_tier":"flex","new":null,
            "max_tool_calls":3,"tool_choice":{"type":"mcp","server_label":"s"},"models":["x"],"store":false"#,
        );
        let request = read(&body);
        let settings = &request.settings;
        assert_eq!((settings.logprobs, settings.reasoning, settings.shows_reasoning), (Some(3), Some(Level::Off), Some(true)));
        assert_eq!(
            (&settings.output, settings.verbosity.as_deref(), settings.user.as_deref()),
            (&OutputFormat::Json, Some("low"), Some("u"))
        );
        let mut names: Vec<_> = extras(&request).into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "include",
                "max_tool_calls",
                "metadata",
                "reasoning.context",
                "reasoning.mode",
                "reasoning.summary",
                "text.new",
                "tool_choice"
            ]
        );
        assert_eq!(read(&with(r#""include":["message.output_text.logprobs"]"#)).settings.logprobs, Some(0));
        assert_eq!(read(&with(r#""reasoning":{"effort":"high","summary":"auto"}"#)).settings.reasoning, Some(Level::Effort(Effort::High)));
        let effort = with(r#""reasoning":{"effort":"enormous"}"#);
        assert_eq!(extras(&read(&effort)), [("reasoning.effort".to_owned(), "\"enormous\"".to_owned())]);
    }

    #[test]
    fn tools_and_choices() {
        let body = with(
            r#""tools":[{"type":"function","name":"f","parameters":{},"strict":null},{"type":"function","name":"g","strict":true,"description":"d"},
            {"type":"custom","name":"h","format":{"type":"text"}},{"type":"web_search"},{"type":"function","name":"i","defer_loading":true}],
            "tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"},{"type":"custom","name":"h"}]}"#,
        );
        let request = read(&body);
        assert!(matches!(&request.tools[0], Tool::Function { strict: None, parameters: Some(_), .. }));
        assert!(matches!(&request.tools[1], Tool::Function { strict: Some(true), parameters: None, .. }));
        assert!(matches!(&request.tools[2], Tool::Custom { .. }));
        assert!(request.tools[3..].iter().all(|tool| matches!(tool, Tool::Opaque { .. })));
        assert_eq!(request.tool_choice, Some(ToolChoice::AnyOf { names: vec!["f".into(), "h".into()], is_required: true }));
        assert_eq!(read(&with(r#""tool_choice":{"type":"function","name":"f"}"#)).tool_choice, Some(ToolChoice::Tool("f".into())));
        for (word, choice) in [("auto", ToolChoice::Auto), ("none", ToolChoice::None), ("required", ToolChoice::Required)] {
            assert_eq!(read(&with(&format!(r#""tool_choice":"{word}""#))).tool_choice, Some(choice));
        }
    }

    #[test]
    fn wrong_values_name_the_field() {
        for (field, value) in [
            ("temperature", "\"hot\""),
            ("top_p", "[]"),
            ("top_logprobs", "-1"),
            ("parallel_tool_calls", "1"),
            ("tools", "{}"),
            ("tools", "[1]"),
            ("include", "1"),
            ("text", "1"),
            ("reasoning", "\"high\""),
        ] {
            let body = with(&format!(r#""{field}":{value}"#));
            let error = request(&serde_json::from_str(&body).unwrap()).unwrap_err();
            assert_eq!(error.param(), Some(field), "{body}");
        }
        let body = r#"{"input":[{"role":"wizard","content":"x"}]}"#;
        assert_eq!(request(&serde_json::from_str(body).unwrap()).unwrap_err().param(), Some("input"));
    }
}
