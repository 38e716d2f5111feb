//! A whole answer of Anthropic's format: metered, passed on, and read and written in the neutral form.

use serde::Serialize;
use serde_json::value::RawValue;

use super::blocks::{Origin, parts};
use super::body::{Block, Typed, free_input, input};
use super::members::{each, given, length, object, text};
use super::thoughts::wrapped;
use super::usage::{self, UsageBody};
use crate::answer::{Answer, AnswerError, Billed, Delta, Names};
use crate::call::Format;
use crate::chat::response::reported;
use crate::fields::{Edit, Fields};
use crate::neutral::{self, Choice, Citation, Finish, Json, Media, Part, Reason, Reasoning, Signature, Source, Text, Vendor};
use crate::reported::Reported;

/// The maximum number of characters kept of a finish reason.
const REASON_CHARS_MAX: usize = 64;

/// Parses a body; an error of the provider is an error here.
pub(super) fn parse(body: &[u8]) -> Result<Fields<'_>, AnswerError> {
    let fields = Fields::parse(body).map_err(|_| AnswerError::Malformed)?;
    let is_error = fields.get("type").is_some_and(|kind| kind.get() == "\"error\"");
    match reported(&fields, body) {
        Some(error) => Err(error),
        None if is_error => Err(AnswerError::Reported(Box::new(Reported::read(body)))),
        None => Ok(fields),
    }
}

/// Reads a whole answer.
///
/// # Errors
/// Fails if the body reports an error, or is not an answer of this format.
pub fn read(body: &[u8]) -> Result<Answer, AnswerError> {
    let fields = parse(body)?;
    let mut text_bytes = 0_u64;
    let content = fields.get("content").ok_or(AnswerError::Malformed)?;
    each(content, |block| text_bytes = text_bytes.saturating_add(block_bytes(block))).ok_or(AnswerError::Malformed)?;
    let usage = fields.get("usage");
    Ok(Answer {
        usage: usage.and_then(usage::read),
        service_tier: usage.and_then(usage::service_tier),
        delta: Delta { text_bytes, finish_reason: finish_reason(&fields) },
    })
}

/// Returns the `stop_reason` as it is recorded: short and without control characters.
pub(super) fn finish_reason(fields: &Fields<'_>) -> Option<String> {
    let reason = text(fields, "stop_reason")?;
    Some(reason.chars().filter(|letter| !letter.is_control()).take(REASON_CHARS_MAX).collect()).filter(|text: &String| !text.is_empty())
}

/// Returns the bytes of what the model wrote in a block. The results of the vendor's tools are no output.
pub(super) fn block_bytes(raw: &RawValue) -> u64 {
    let Some(block) = object(raw) else { return length(raw) };
    let of = |name: &str| given(&block, name).filter(|raw| raw.get() != "{}").map_or(0, length);
    match text(&block, "type").as_deref() {
        Some("text") => of("text"),
        Some("thinking") => of("thinking"),
        Some("redacted_thinking") => of("data"),
        Some("tool_use" | "server_tool_use" | "mcp_tool_use") => of("input"),
        Some(kind) if kind.ends_with("_tool_result") => 0,
        Some(_) | None => length(raw),
    }
}

/// Returns a whole answer for the client, with the gateway's name of the model and the charge; everything else is unchanged.
///
/// # Errors
/// Fails if the answer is not a JSON object.
pub fn client_body(body: &[u8], names: &Names<'_>, billed: &Billed) -> Result<Vec<u8>, AnswerError> {
    let fields = Fields::parse(body).map_err(|_| AnswerError::Malformed)?;
    let charge = usage::charge(names, billed);
    let mut into = Vec::with_capacity(body.len() + charge.len() + names.model_json.len() + 16);
    fields.write(&[("model", Edit::Put(names.model_json)), ("arouter", Edit::Put(&charge))], &mut into);
    Ok(into)
}

/// Reads a whole answer into the neutral form.
///
/// # Errors
/// Fails if the body reports an error, or is not an answer of this format.
pub fn neutral(body: &[u8]) -> Result<neutral::Answer<'_>, AnswerError> {
    let fields = parse(body)?;
    let content = fields.get("content").filter(|raw| raw.get().starts_with('[')).ok_or(AnswerError::Malformed)?;
    let parts = parts(content, Origin::Answer).ok_or(AnswerError::Malformed)?;
    let finish = finish(&fields, parts.iter().any(|part| matches!(part, Part::ToolCall(_))));
    let choice = Choice { parts, finish, logprobs: None };
    Ok(neutral::Answer { id: text(&fields, "id"), model: text(&fields, "model"), created_s: None, choices: vec![choice] })
}

/// Reads the end of an answer from the object that has `stop_reason`.
pub(super) fn finish<'a>(fields: &Fields<'a>, has_calls: bool) -> Finish<'a> {
    let native = text(fields, "stop_reason");
    let reason = match native.as_deref() {
        Some("end_turn") => Reason::Stop,
        Some("stop_sequence") => Reason::StopSequence,
        Some("max_tokens" | "model_context_window_exceeded") => Reason::Length,
        Some("tool_use") => Reason::ToolCalls,
        Some("refusal") => Reason::Filtered,
        Some("pause_turn" | "compaction") => Reason::Paused,
        Some(_) | None if has_calls => Reason::ToolCalls,
        Some(_) | None => Reason::Stop,
    };
    let details = given(fields, "stop_details").and_then(object);
    let message = details.and_then(|details| text(&details, "explanation"));
    Finish { reason, native, stop_sequence: text(fields, "stop_sequence"), message }
}

/// The end of an answer as it is written.
#[derive(Debug, Serialize)]
pub(super) struct FinishBody<'a> {
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<Details<'a>>,
}

#[derive(Debug, Serialize)]
struct Details<'a> {
    r#type: &'static str,
    category: Option<&'static str>,
    explanation: Option<&'a str>,
}

impl<'a> FinishBody<'a> {
    /// Creates the end of an answer. `None` as reason stands for a provider that gave up, for which this format has no word.
    pub fn new(finish: &'a Finish<'_>, has_calls: bool, has_refusal: bool) -> Self {
        let stop_reason = match finish.reason {
            Reason::Stop if has_refusal => Some("refusal"),
            Reason::Stop if has_calls => Some("tool_use"),
            Reason::Stop => Some("end_turn"),
            Reason::StopSequence => Some("stop_sequence"),
            Reason::Length => Some("max_tokens"),
            Reason::ToolCalls => Some("tool_use"),
            Reason::Filtered => Some("refusal"),
            Reason::Paused => Some("pause_turn"),
            Reason::Broken => None,
        };
        let stop_details = (stop_reason == Some("refusal")).then(|| Details::new(finish.message.as_deref()));
        Self { stop_reason, stop_sequence: finish.stop_sequence.as_deref(), stop_details }
    }

    /// Creates the end of an answer at the bound of its length.
    pub const fn length() -> Self {
        Self { stop_reason: Some("max_tokens"), stop_sequence: None, stop_details: None }
    }
}

impl<'a> Details<'a> {
    const fn new(explanation: Option<&'a str>) -> Self {
        Self { r#type: "refusal", category: None, explanation }
    }
}

/// A whole answer as it is written.
#[derive(Debug, Serialize)]
struct Body<'a> {
    id: String,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    #[serde(flatten)]
    finish: FinishBody<'a>,
    usage: UsageBody,
    arouter: Option<Json<'static>>,
}

/// Returns the id of an answer, from the gateway's id of the request.
pub(super) fn id(names: &Names<'_>) -> String {
    let tail = names.id.rsplit_once('-').map_or(names.id, |(_, tail)| tail);
    format!("msg_{tail}")
}

/// Writes a neutral answer, of which this format has one choice.
#[must_use]
pub fn write(answer: &neutral::Answer<'_>, names: &Names<'_>, billed: &Billed) -> Vec<u8> {
    let none = Choice::default();
    let choice = answer.choices.first().unwrap_or(&none);
    let mut content = Vec::with_capacity(choice.parts.len());
    for part in &choice.parts {
        write_part(part, &mut content);
    }
    let has_calls = choice.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let has_refusal = choice.parts.iter().any(|part| matches!(part, Part::Refusal(_)));
    let mut finish = FinishBody::new(&choice.finish, has_calls, has_refusal);
    if finish.stop_reason.is_none() {
        // A whole answer is a success for its client. Only a refusal says that it must not be used as one.
        finish.stop_reason = Some("refusal");
        let Finish { message, native, .. } = &choice.finish;
        finish.stop_details = Some(Details::new(message.as_deref().or(native.as_deref())));
    }
    let usage = UsageBody::new(&billed.tokens);
    let arouter = Json::parse(&usage::charge(names, billed));
    let body = Body { id: id(names), r#type: "message", role: "assistant", model: names.model, content, finish, usage, arouter };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// Writes a part as the blocks of an answer.
fn write_part<'a>(part: &'a Part<'_>, into: &mut Vec<Block<'a>>) {
    match part {
        Part::Text { text, citations, signature, .. } => {
            into.extend(signature.as_ref().and_then(signature_block));
            if !text.is_empty() || signature.is_some() {
                let citations = citations.iter().filter_map(citation).collect();
                into.push(Block::Typed(Typed::Text { text: Text::Borrowed(text), citations, cache_control: None }));
            }
        }
        Part::Refusal(text) => into.push(Block::text(text.as_ref())),
        Part::Media(media) => into.extend(link(media).map(Block::text)),
        Part::ToolCall(call) => {
            into.extend(call.signature.as_ref().and_then(signature_block));
            // The type demands an object, so that text which is none is put into one.
            let object = if call.is_custom { None } else { input(&call.arguments) };
            let input = object.unwrap_or_else(|| free_input(&call.arguments));
            let (id, name) = (Text::Borrowed(call.id.as_ref()), Text::Borrowed(call.name.as_ref()));
            into.push(Block::Typed(Typed::ToolUse { id, name, input, cache_control: None }));
        }
        Part::Reasoning(reasoning) => thoughts(reasoning, into),
        Part::Opaque { format: Format::Messages, raw } => into.push(Block::Raw(raw.clone())),
        // The trace of another vendor's tools has no meaning here, and answers have no results.
        Part::Opaque { .. } | Part::ToolResult(_) => {}
    }
}

/// Returns the block that carries another vendor's signature of the text or call after it.
pub(super) fn signature_block<'a>(signature: &Signature<'_>) -> Option<Block<'a>> {
    let is_foreign = signature.vendor != Vendor::Anthropic;
    is_foreign.then(|| Block::Typed(Typed::RedactedThinking { data: signature.wrapped(Vendor::Anthropic).into() }))
}

fn thoughts<'a>(reasoning: &'a Reasoning<'_>, into: &mut Vec<Block<'a>>) {
    let (own, foreign) = match &reasoning.encrypted {
        Some(encrypted) if encrypted.vendor == Vendor::Anthropic => (Some(Text::Borrowed(encrypted.data.as_ref())), None),
        Some(encrypted) => (None, Some(wrapped(encrypted, reasoning.id.as_deref()))),
        None => (None, None),
    };
    let signature = reasoning.signature.as_ref().map(|signature| signature.wrapped(Vendor::Anthropic));
    let mut signatures = signature.into_iter().chain(foreign).peekable();
    let mut thinking = Text::Borrowed(reasoning.text.as_ref());
    if !thinking.is_empty() && signatures.peek().is_none() {
        let signature = Text::Borrowed("");
        into.push(Block::Typed(Typed::Thinking { thinking: std::mem::take(&mut thinking), signature }));
    }
    for signature in signatures {
        into.push(Block::Typed(Typed::Thinking { thinking: std::mem::take(&mut thinking), signature: signature.into() }));
    }
    into.extend(own.map(|data| Block::Typed(Typed::RedactedThinking { data })));
}

/// Writes a citation; nothing for one that only another format knows.
pub(super) fn citation<'a>(citation: &'a Citation<'_>) -> Option<Json<'a>> {
    #[derive(Serialize)]
    struct Page<'a> {
        r#type: &'static str,
        cited_text: &'static str,
        encrypted_index: &'static str,
        title: Option<&'a str>,
        url: &'a str,
    }
    match citation {
        Citation::Url { url, title, .. } => Some(Json::of(&Page {
            r#type: "web_search_result_location",
            cited_text: "",
            encrypted_index: "",
            title: title.as_deref(),
            url,
        })),
        Citation::Opaque { format: Format::Messages, raw } => Some(raw.clone()),
        Citation::Opaque { .. } => None,
    }
}

/// Writes media, for which answers of this format have no block, as a link in Markdown.
fn link(media: &Media<'_>) -> Option<String> {
    let name = media.name.as_deref().unwrap_or_default();
    match &media.source {
        Source::Base64(data) => Some(format!("![{name}](data:{};base64,{data})", media.mime.as_deref().unwrap_or_default())),
        Source::Url(url) => Some(format!("![{name}]({url})")),
        Source::Text(text) => Some(text.clone().into_owned()),
        Source::File { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::neutral::{MediaKind, ToolCall};
    use crate::testing;

    fn written(parts: Vec<Part<'static>>, finish: Finish<'static>) -> Value {
        let answer = neutral::Answer { choices: vec![Choice { parts, finish, logprobs: None }], ..neutral::Answer::default() };
        serde_json::from_slice(&write(&answer, &testing::NAMES, &testing::billed())).unwrap()
    }

    fn reason(reason: Reason) -> Finish<'static> {
        Finish { reason, ..Finish::default() }
    }

    fn by(vendor: Vendor) -> Signature<'static> {
        Signature { vendor, data: "c2ln".into() }
    }

    fn call(arguments: &'static str, is_custom: bool) -> Part<'static> {
        let (id, name, arguments) = ("a".into(), "f".into(), arguments.into());
        Part::ToolCall(ToolCall { id, name, arguments, is_custom, signature: None, cache: None })
    }

    #[test]
    fn an_answer_keeps_foreign_bytes_and_gets_our_model_and_charge() {
        let body = br#"{"id":"msg_x","model":"claude","content":[{"type":"text", "text":"h\u00e9"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1},"new":1}"#;
        let text = String::from_utf8(client_body(body, &testing::NAMES, &testing::billed()).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"id":"msg_x","model":"a/m","content":[{"type":"text", "text":"h\u00e9"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1},"new":1,"arouter":{"cost":0.0000015,"generation_id":"gen-1","provider":"p"}}"#
        );
        assert!(client_body(b"<html>", &testing::NAMES, &testing::billed()).is_err());
    }

    #[test]
    fn what_the_model_wrote_is_metered() {
        let body = br#"{"content":[{"type":"text","text":"four"},{"type":"thinking","thinking":"two2","signature":"long"},
            {"type":"tool_use","id":"a","name":"b","input":{"n":1}},{"type":"tool_use","id":"a","name":"b","input":{}},
            {"type":"web_search_tool_result","content":[1,2,3]},{"type":"new"}],"stop_reason":"brand\u0000_new"}"#;
        let answer = read(body).unwrap();
        assert_eq!(answer.delta, Delta { text_bytes: 4 + 4 + 7 + 14, finish_reason: Some("brand_new".into()) });
        assert!(answer.usage.is_none() && answer.service_tier.is_none());
    }

    #[test]
    fn errors_and_other_bodies_are_no_answers() {
        let error = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#;
        for error in [read(error).unwrap_err(), neutral(error).unwrap_err()] {
            assert!(matches!(error, AnswerError::Reported(error) if error.message.as_deref() == Some("Overloaded")));
        }
        assert!(matches!(read(br#"{"type":"error"}"#), Err(AnswerError::Reported(_))));
        for body in [&b"<html>"[..], b"{}", br#"{"content":3}"#, br#"{"content":[{"#] {
            assert!(matches!(read(body), Err(AnswerError::Malformed)));
            assert_eq!(neutral(body), Err(AnswerError::Malformed));
        }
    }

    #[test]
    fn reasons_are_read() {
        for (native, expected) in [
            ("end_turn", Reason::Stop),
            ("stop_sequence", Reason::StopSequence),
            ("max_tokens", Reason::Length),
            ("model_context_window_exceeded", Reason::Length),
            ("tool_use", Reason::ToolCalls),
            ("refusal", Reason::Filtered),
            ("pause_turn", Reason::Paused),
            ("compaction", Reason::Paused),
            ("brand_new", Reason::Stop),
        ] {
            let body = format!(r#"{{"content":[],"stop_reason":"{native}","stop_sequence":"E","stop_details":{{"explanation":"e"}}}}"#);
            let answer = neutral(body.as_bytes()).unwrap();
            let finish = &answer.choices[0].finish;
            assert_eq!((finish.reason, finish.native.as_deref()), (expected, Some(native)));
            assert_eq!((finish.stop_sequence.as_deref(), finish.message.as_deref()), (Some("E"), Some("e")));
        }
    }

    #[test]
    fn a_written_answer_has_all_that_the_type_demands() {
        assert_eq!(
            written(vec![Part::text("x")], reason(Reason::Stop)),
            json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "a/m", "content": [{"type": "text", "text": "x"}],
                "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 3, "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 2, "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
                "output_tokens": 3, "output_tokens_details": {"thinking_tokens": 1}},
                "arouter": {"cost": 0.000_001_5, "generation_id": "gen-1", "provider": "p"}})
        );
    }

    #[test]
    fn reasons_are_written() {
        let of = |parts, finish| written(parts, finish)["stop_reason"].clone();
        for (neutral, word) in [
            (Reason::StopSequence, "stop_sequence"),
            (Reason::Length, "max_tokens"),
            (Reason::ToolCalls, "tool_use"),
            (Reason::Paused, "pause_turn"),
        ] {
            assert_eq!(of(vec![], reason(neutral)), word);
        }
        assert_eq!(of(vec![call("", false)], reason(Reason::Stop)), "tool_use");
        assert_eq!(of(vec![Part::Refusal("no".into())], reason(Reason::Stop)), "refusal");
        let filtered = written(vec![], Finish { message: Some("m".into()), ..reason(Reason::Filtered) });
        assert_eq!(filtered["stop_details"], json!({"type": "refusal", "category": null, "explanation": "m"}));
        let broken = written(vec![], Finish { native: Some("OTHER".into()), ..reason(Reason::Broken) });
        assert_eq!((&broken["stop_reason"], &broken["stop_details"]["explanation"]), (&json!("refusal"), &json!("OTHER")));
    }

    #[test]
    fn the_input_of_a_call_is_an_object() {
        let of = |part| written(vec![part], reason(Reason::ToolCalls))["content"][0]["input"].clone();
        assert_eq!(of(call("", false)), json!({}));
        assert_eq!(of(call(r#"{"n":1}"#, false)), json!({"n": 1}));
        assert_eq!(of(call("{\"n", false)), json!({"input": "{\"n"}));
        assert_eq!(of(call("free", true)), json!({"input": "free"}));
    }

    #[test]
    fn foreign_signatures_are_wrapped_and_come_back() {
        let mut signed = call("{}", false);
        if let Part::ToolCall(call) = &mut signed {
            call.signature = Some(by(Vendor::Google));
        }
        let text = Part::Text { text: "t".into(), citations: vec![], cache: None, signature: Some(by(Vendor::Google)) };
        let thought = |signature, encrypted, id: Option<&'static str>, is_summary| {
            let (text, id) = ("why".into(), id.map(Text::Borrowed));
            Part::Reasoning(Reasoning { text, is_summary, signature, encrypted, id })
        };
        let parts = vec![
            thought(None, Some(by(Vendor::OpenAi)), Some("rs_1"), true),
            thought(Some(by(Vendor::Google)), None, None, false),
            thought(Some(by(Vendor::Anthropic)), None, None, false),
            thought(None, None, None, false),
            Part::Reasoning(Reasoning { encrypted: Some(by(Vendor::Anthropic)), ..Reasoning::default() }),
            signed,
            text,
        ];
        let answer = written(parts.clone(), reason(Reason::ToolCalls));
        let content = &answer["content"];
        assert_eq!(content[1], json!({"type": "thinking", "thinking": "why", "signature": "arouter:google-gemini-v1:c2ln"}));
        assert_eq!(content[2]["signature"], "c2ln");
        assert_eq!(content[3], json!({"type": "thinking", "thinking": "why", "signature": ""}));
        assert_eq!(content[5], json!({"type": "redacted_thinking", "data": "arouter:google-gemini-v1:c2ln"}));
        assert_eq!((&content[6]["type"], &content[8]["type"]), (&json!("tool_use"), &json!("text")));
        let raw = RawValue::from_string(content.to_string()).unwrap();
        assert_eq!(super::parts(&raw, Origin::Request).unwrap(), parts, "a client sends the blocks back");
    }

    #[test]
    fn citations_images_and_foreign_traces() {
        let page = Citation::Url { url: "u".into(), title: None, start: Some(0), end: Some(1) };
        let other = Citation::Opaque { format: Format::Chat, raw: Json::parse("{}").unwrap() };
        let text = Part::Text { text: "t".into(), citations: vec![page, other], cache: None, signature: None };
        let image = Part::Media(Media {
            kind: MediaKind::Image,
            source: Source::Base64("AA==".into()),
            mime: Some("image/png".into()),
            name: None,
            detail: None,
            cache: None,
        });
        let trace = |format| Part::Opaque { format, raw: Json::parse(r#"{"type":"x"}"#).unwrap() };
        let answer = written(vec![text, image, trace(Format::Responses), trace(Format::Messages)], reason(Reason::Stop));
        let page = json!({"type": "web_search_result_location", "url": "u", "title": null, "cited_text": "", "encrypted_index": ""});
        assert_eq!(
            answer["content"],
            json!([{"type": "text", "text": "t", "citations": [page]}, {"type": "text", "text": "![](data:image/png;base64,AA==)"}, {"type": "x"}])
        );
    }
}
