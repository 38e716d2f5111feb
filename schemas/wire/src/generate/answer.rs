//! Whole answers: the parts that the gateway reads, and answers from and into the neutral form.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::body::{self, CallBody, ContentBody, PartBody, Piece};
use super::calls::Calls;
use super::finish;
use super::grounding::{self, GroundingBody};
use super::logprobs::{self, LogprobsBody};
use super::part::{self, Place};
use super::signature;
use super::spelling::{canonical, each, length, list, list_of, member, object, present, text_of};
use super::usage::{self, ChargeBody, UsageBody};
use crate::answer::{Answer, AnswerError, Billed, Delta, Names};
use crate::call::Format;
use crate::chat::response::reported;
use crate::fields::{Edit, Fields};
use crate::neutral::{self, Choice, Finish, Json, Part, Reason, Text};
use crate::reported::Reported;
use crate::usage::Usage;

/// The maximum number of characters kept of a finish reason.
const REASON_CHARS_MAX: usize = 64;

/// Reads the members of an answer or frame.
///
/// # Errors
/// Fails if the bytes report an error, or are no object.
pub(super) fn own_members(data: &[u8]) -> Result<Fields<'_>, AnswerError> {
    let fields = Fields::parse(data).map_err(|_| {
        let is_list = serde_json::from_slice::<Vec<Fields<'_>>>(data).is_ok_and(|all| all.iter().any(|one| one.get("error").is_some()));
        if is_list { AnswerError::Reported(Box::new(Reported::read(data))) } else { AnswerError::Malformed }
    })?;
    match reported(&fields, data) {
        Some(error) => Err(error),
        None => Ok(fields),
    }
}

/// Reads the members of an answer or frame under their names in camelCase, without nulls.
///
/// # Errors
/// Fails if the bytes report an error, or are no object.
pub fn members(data: &[u8]) -> Result<Fields<'_>, AnswerError> {
    own_members(data).map(|fields| present(canonical(fields)))
}

/// The metered parts of an answer or frame.
#[derive(Debug, Default)]
pub(super) struct Skim {
    pub delta: Delta,
    pub usage: Option<Usage>,
    pub service_tier: Option<String>,
    /// Whether there are candidates, or a report that there are none.
    pub has_candidates: bool,
}

/// Reads the metered parts.
///
/// # Errors
/// Fails if the candidates are no array of objects.
pub(super) fn skim(fields: &Fields<'_>) -> Result<Skim, AnswerError> {
    let mut skim = Skim { usage: fields.get("usageMetadata").and_then(usage::read), ..Skim::default() };
    let mut is_valid = true;
    if let Some(raw) = fields.get("candidates").filter(|raw| raw.get().starts_with('[')) {
        let read = each(raw, |raw| match object(raw) {
            None => is_valid = false,
            Some(candidate) => {
                skim.has_candidates = true;
                candidate_delta(&candidate, &mut skim.delta);
            }
        });
        is_valid &= read.is_ok();
    }
    if !is_valid {
        return Err(AnswerError::Malformed);
    }
    if let Some(reason) = blocked(fields).filter(|_| !skim.has_candidates) {
        skim.has_candidates = true;
        skim.delta.finish_reason = reason.native.as_deref().and_then(recorded);
    }
    let tier = member(fields, "usageMetadata").and_then(|usage| text_of(&usage, "serviceTier"));
    skim.service_tier = tier.map(|tier| match tier.to_ascii_lowercase().as_str() {
        "standard" => "default".to_owned(),
        other => other.to_owned(),
    });
    Ok(skim)
}

/// Returns the candidates; none if they are no array.
pub(super) fn candidates<'a>(fields: &Fields<'a>) -> Vec<&'a RawValue> {
    fields.get("candidates").filter(|raw| raw.get().starts_with('[')).map(list).unwrap_or_default()
}

fn candidate_delta(candidate: &Fields<'_>, delta: &mut Delta) {
    if delta.finish_reason.is_none() {
        delta.finish_reason = text_of(candidate, "finishReason").and_then(|native| recorded(&native));
    }
    let parts = member(candidate, "content").and_then(|content| content.get("parts"));
    let count = |part: &RawValue| delta.text_bytes = delta.text_bytes.saturating_add(text_bytes(part));
    if let Some(parts) = parts {
        drop(each(parts, count));
    }
}

/// Returns a finish reason as it is recorded: short and without control characters.
fn recorded(native: &str) -> Option<String> {
    let short: String = native.chars().filter(|letter| !letter.is_control()).take(REASON_CHARS_MAX).collect();
    Some(short).filter(|short| finish::is_finish(short))
}

/// Returns the bytes of a part's text, of a call's arguments, or of any other content but media.
fn text_bytes(part: &RawValue) -> u64 {
    let Some(part) = object(part) else { return 0 };
    let of = |(name, raw): &(Cow<'_, str>, &RawValue)| match name.as_ref() {
        "text" => length(raw).saturating_sub(2),
        "functionCall" => object(raw).and_then(|call| call.get("args")).filter(|args| args.get() != "{}").map_or(0, length),
        "thought" | "thoughtSignature" | "inlineData" | "fileData" => 0,
        _ if raw.get().starts_with(['{', '[', '"']) => length(raw),
        _ => 0,
    };
    part.0.iter().map(of).fold(0, u64::saturating_add)
}

/// Returns the finish of a prompt that was blocked.
pub(super) fn blocked<'a>(fields: &Fields<'a>) -> Option<Finish<'a>> {
    let feedback = member(fields, "promptFeedback")?;
    Some(finish::blocked(text_of(&feedback, "blockReason")?, text_of(&feedback, "blockReasonMessage")))
}

/// Reads a whole answer.
///
/// # Errors
/// Fails if the body reports an error, or is not an answer.
pub fn read(body: &[u8]) -> Result<Answer, AnswerError> {
    let Skim { delta, usage, service_tier, has_candidates } = skim(&members(body)?)?;
    if !has_candidates && usage.is_none() {
        return Err(AnswerError::Malformed);
    }
    Ok(Answer { usage, service_tier, delta })
}

/// Returns a whole answer for the client, with the gateway's model name and the charge; everything else is unchanged.
///
/// # Errors
/// Fails if the answer is not a JSON object.
pub fn client_body(body: &[u8], names: &Names<'_>, billed: &Billed) -> Result<Vec<u8>, AnswerError> {
    let fields = Fields::parse(body).map_err(|_| AnswerError::Malformed)?;
    let mut answer = Vec::with_capacity(body.len() + 256);
    charged(&fields, &[], names, billed, &mut answer);
    Ok(answer)
}

/// Writes an answer or frame with the charge. A usage is added if there is none.
pub(super) fn charged(fields: &Fields<'_>, more: &[(&str, Edit<'_>)], names: &Names<'_>, billed: &Billed, into: &mut Vec<u8>) {
    let charge = Json::of(&ChargeBody::new(billed, names));
    let usage = Json::of(&UsageBody::new(&billed.tokens));
    let mut edits = vec![("modelVersion", Edit::Put(names.model_json))];
    edits.extend_from_slice(more);
    let has_usage =
        more.iter().any(|(name, _)| *name == "usageMetadata") || fields.get("usageMetadata").is_some_and(|raw| raw.get() != "null");
    if !has_usage {
        edits.push(("usageMetadata", Edit::Put(usage.get())));
    }
    edits.push(("arouter", Edit::Put(charge.get())));
    fields.write(&edits, into);
}

/// Reads a whole answer into the neutral form.
///
/// # Errors
/// Fails if the body reports an error, or is not an answer.
pub fn neutral(body: &[u8]) -> Result<neutral::Answer<'_>, AnswerError> {
    let fields = members(body)?;
    let id = text_of(&fields, "responseId");
    let mut choices = Vec::new();
    for raw in candidates(&fields) {
        let mut calls = Calls::default();
        calls.answer(id.as_deref());
        choices.push(choice(&object(raw).ok_or(AnswerError::Malformed)?, &mut calls));
    }
    if choices.is_empty() {
        choices.extend(blocked(&fields).map(|finish| Choice { finish, ..Choice::default() }));
    }
    if choices.is_empty() && fields.get("usageMetadata").is_none() {
        return Err(AnswerError::Malformed);
    }
    Ok(neutral::Answer { id, model: text_of(&fields, "modelVersion"), created_s: None, choices })
}

fn choice<'a>(candidate: &Fields<'a>, calls: &mut Calls) -> Choice<'a> {
    let content = member(candidate, "content");
    let raw = content.as_ref().map(|content| list_of(content, "parts")).unwrap_or_default();
    let mut parts: Vec<Part<'a>> = raw.into_iter().map(|raw| part::read(raw, Place::Answer, calls)).collect();
    let text_at = |at: u64| match parts.get(usize::try_from(at).ok()?)? {
        Part::Text { text, .. } => Some(text.as_ref()),
        Part::Refusal(_) | Part::Media(_) | Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => None,
    };
    for (at, citation) in grounding::read(candidate, text_at) {
        let own = usize::try_from(at).ok().filter(|at| matches!(parts.get(*at), Some(Part::Text { .. })));
        let at = own.or_else(|| parts.iter().position(|part| matches!(part, Part::Text { .. })));
        if let Some(Part::Text { citations, .. }) = at.and_then(|at| parts.get_mut(at)) {
            citations.push(citation);
        }
    }
    parts.retain(|part| !is_empty(part));
    let has_calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let native = text_of(candidate, "finishReason").filter(|native| finish::is_finish(native));
    let message = text_of(candidate, "finishMessage");
    let finish = match native {
        Some(native) => finish::read(native, message, has_calls),
        None => Finish { reason: if has_calls { Reason::ToolCalls } else { Reason::Stop }, message, ..Finish::default() },
    };
    let logprobs = candidate.get("logprobsResult").map(Json::from).and_then(|result| logprobs::read(&result));
    Choice { parts, finish, logprobs }
}

/// Returns whether a part says nothing, as the last one of a stream does.
fn is_empty(part: &Part<'_>) -> bool {
    matches!(part, Part::Text { text, signature: None, .. } if text.is_empty())
}

/// An answer or frame as it is written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AnswerBody<'a> {
    pub candidates: Vec<CandidateBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_metadata: Option<UsageBody>,
    pub model_version: &'a str,
    pub response_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arouter: Option<ChargeBody<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CandidateBody<'a> {
    pub content: ContentBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_message: Option<&'a str>,
    pub index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grounding_metadata: Option<GroundingBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs_result: Option<LogprobsBody>,
}

impl<'a> AnswerBody<'a> {
    /// Returns a body with the charge, or a frame without it.
    pub fn new(candidates: Vec<CandidateBody<'a>>, names: &Names<'a>, billed: Option<&Billed>) -> Self {
        Self {
            candidates,
            usage_metadata: billed.map(|billed| UsageBody::new(&billed.tokens)),
            model_version: names.model,
            response_id: names.id,
            arouter: billed.map(|billed| ChargeBody::new(billed, names)),
        }
    }
}

/// Returns the word for a finish. A refusal is a filtered answer for Google's clients.
pub(super) fn finish_word(finish: &Finish<'_>, has_refusal: bool) -> &'static str {
    match finish.reason {
        Reason::Stop | Reason::StopSequence if has_refusal => "SAFETY",
        Reason::Stop | Reason::StopSequence | Reason::Length | Reason::ToolCalls | Reason::Filtered | Reason::Paused | Reason::Broken => {
            finish::word(finish)
        }
    }
}

/// Writes a neutral answer for the client.
#[must_use]
pub fn write(answer: &neutral::Answer<'_>, names: &Names<'_>, billed: &Billed) -> Vec<u8> {
    let candidates = answer.choices.iter().enumerate().map(|(index, choice)| candidate(index, choice)).collect();
    serde_json::to_vec(&AnswerBody::new(candidates, names, Some(billed))).unwrap_or_default()
}

fn candidate<'c>(index: usize, choice: &'c Choice<'_>) -> CandidateBody<'c> {
    let mut parts = Vec::with_capacity(choice.parts.len());
    let mut grounding = GroundingBody::default();
    for part in &choice.parts {
        if let Part::Text { text, citations, .. } = part {
            grounding.add(parts.len(), text, citations);
        }
        pieces(part, &mut parts);
    }
    if parts.is_empty() {
        parts.push(Piece::text("", None));
    }
    let has_refusal = choice.parts.iter().any(|part| matches!(part, Part::Refusal(_)));
    let mut logprobs = LogprobsBody::default();
    if let Some(tokens) = &choice.logprobs {
        logprobs.add(tokens);
    }
    CandidateBody {
        content: ContentBody { parts, role: Some("model") },
        finish_reason: Some(finish_word(&choice.finish, has_refusal)),
        finish_message: choice.finish.message.as_deref(),
        index,
        grounding_metadata: grounding.into_some(),
        logprobs_result: logprobs.into_some(),
    }
}

/// Adds a part of an answer. Content that only another vendor knows has no place here, and a call without valid arguments keeps their text.
fn pieces<'p>(part: &'p Part<'_>, into: &mut Vec<Piece<'p>>) {
    match part {
        Part::Text { text, signature, .. } => into.push(Piece::text(text, signature.as_ref().map(signature::wrapped))),
        Part::Refusal(text) => into.push(Piece::text(text, None)),
        Part::Media(media) => into.extend(body::media(media, Format::Generate).ok().map(Piece::from)),
        Part::Reasoning(reasoning) => {
            if let Some(encrypted) = &reasoning.encrypted {
                into.push(Piece::thought("", Some(signature::encrypted(encrypted))));
            }
            if reasoning.signature.is_some() || !reasoning.text.is_empty() {
                into.push(Piece::thought(&reasoning.text, reasoning.signature.as_ref().map(signature::wrapped)));
            }
        }
        Part::ToolCall(call) => {
            let args = body::arguments(call).unwrap_or_else(|| body::input(&call.arguments));
            let function_call = Some(CallBody { id: Some(&call.id), name: &call.name, args });
            let thought_signature: Option<Text<'p>> = call.signature.as_ref().map(signature::wrapped);
            into.push(PartBody { function_call, thought_signature, ..PartBody::default() }.into());
        }
        Part::Opaque { format: Format::Generate, raw } => into.push(Piece::Raw(raw)),
        Part::Opaque { .. } | Part::ToolResult(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::neutral::{Citation, Reasoning, Signature, ToolCall, Vendor};
    use crate::testing;

    #[test]
    fn a_skim_meters_everything_but_media() {
        let body = br#"{"candidates":[{"content":{"parts":[{"text":"hey"},{"text":"hm","thought":true,"thoughtSignature":"YQ=="},
            {"functionCall":{"name":"f","args":{"a":1}}},{"functionCall":{"name":"f","args":{}}},{"inlineData":{"mimeType":"image/png","data":"aGk="}}]},
            "finishReason":"STOP"},{"finishReason":"SAFETY"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":1,"serviceTier":"standard"}}"#;
        let answer = read(body).unwrap();
        assert_eq!(answer.delta, Delta { text_bytes: 3 + 2 + 7, finish_reason: Some("STOP".into()) });
        assert_eq!((answer.usage.unwrap().tokens.input, answer.service_tier.as_deref()), (3, Some("default")));
        let blocked = read(br#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":3}}"#).unwrap();
        assert_eq!(blocked.delta.finish_reason.as_deref(), Some("PROHIBITED_CONTENT"));
    }

    #[test]
    fn html_half_a_json_and_errors_are_no_answer() {
        for body in [&b"<html>"[..], b"{\"candidates\":[", b"{}", b"[]", b"{\"candidates\":[7]}", b"{\"candidates\":{}}"] {
            assert_eq!(read(body).err(), Some(AnswerError::Malformed), "{}", String::from_utf8_lossy(body));
            assert!(neutral(body).is_err());
        }
        for body in
            [&br#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#[..], br#"[{"error":{"code":429,"message":"m"}}]"#]
        {
            let error = read(body).err().unwrap();
            assert!(matches!(error, AnswerError::Reported(error) if error.status == Some(429) && error.message.as_deref() == Some("m")));
        }
    }

    #[test]
    fn the_client_gets_the_providers_bytes_and_the_charge() {
        let body = br#"{"candidates":[{"x":1.0}],"usageMetadata":{"promptTokenCount":3},"modelVersion":"m-9","responseId":"r"}"#;
        let text = String::from_utf8(client_body(body, &testing::NAMES, &testing::billed()).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"candidates":[{"x":1.0}],"usageMetadata":{"promptTokenCount":3},"modelVersion":"a/m","responseId":"r","arouter":{"cost":0.0000015,"generation_id":"gen-1","provider":"p"}}"#
        );
        let bare = client_body(br#"{"candidates":[]}"#, &testing::NAMES, &testing::billed()).unwrap();
        let bare: Value = serde_json::from_slice(&bare).unwrap();
        assert_eq!((&bare["usageMetadata"]["promptTokenCount"], &bare["modelVersion"]), (&json!(5), &json!("a/m")));
    }

    #[test]
    fn blocked_prompts_and_empty_candidates_are_answers() {
        let answer = neutral(br#"{"promptFeedback":{"blockReason":"OTHER","blockReasonMessage":"no"}}"#).unwrap();
        let finish = &answer.choices[0].finish;
        assert_eq!((finish.reason, finish.native.as_deref(), finish.message.as_deref()), (Reason::Filtered, Some("OTHER"), Some("no")));
        let answer = neutral(br#"{"candidates":[{"finishReason":"SAFETY","finishMessage":"m"}]}"#).unwrap();
        assert_eq!((answer.choices[0].parts.len(), answer.choices[0].finish.reason), (0, Reason::Filtered));
    }

    #[test]
    fn everything_that_the_format_says_survives() {
        let google = Signature { vendor: Vendor::Google, data: "YQ==".into() };
        let foreign = Signature { vendor: Vendor::OpenAi, data: "secret".into() };
        let text = Part::Text {
            text: "é.".into(),
            citations: vec![Citation::Url { url: "https://x".into(), title: None, start: Some(0), end: Some(1) }],
            cache: None,
            signature: Some(google.clone()),
        };
        let thought = Reasoning { text: "hm".into(), signature: Some(foreign.clone()), ..Reasoning::default() };
        let redacted = Reasoning { encrypted: Some(foreign), ..Reasoning::default() };
        let call =
            ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into(), is_custom: false, signature: Some(google), cache: None };
        let parts = vec![Part::Reasoning(redacted), Part::Reasoning(thought), text, Part::ToolCall(call)];
        let finish = Finish { reason: Reason::ToolCalls, native: Some("STOP".into()), ..Finish::default() };
        let answer = neutral::Answer {
            id: Some("gen-1".into()),
            model: Some("a/m".into()),
            created_s: None,
            choices: vec![Choice { parts, finish, logprobs: None }, Choice { parts: vec![Part::text("b")], ..Choice::default() }],
        };
        let written = write(&answer, &testing::NAMES, &testing::billed());
        let mut read = neutral(&written).unwrap();
        read.choices[1].finish.native = None;
        assert_eq!(read, answer);
        let usage = super::read(&written).unwrap().usage.unwrap();
        assert_eq!((usage.tokens, usage.is_inconsistent), (testing::billed().tokens, false));
    }

    #[test]
    fn what_the_format_cannot_say_stays_readable() {
        let call = |arguments: &'static str, is_custom| {
            Part::ToolCall(ToolCall {
                id: "c".into(),
                name: "f".into(),
                arguments: arguments.into(),
                is_custom,
                signature: None,
                cache: None,
            })
        };
        let opaque = Part::Opaque { format: Format::Messages, raw: Json::of(&1) };
        let parts = vec![call("{", false), call("free", true), opaque, Part::Refusal("no".into())];
        let answer =
            neutral::Answer { choices: vec![Choice { parts, ..Choice::default() }, Choice::default()], ..neutral::Answer::default() };
        let written: Value = serde_json::from_slice(&write(&answer, &testing::NAMES, &testing::billed())).unwrap();
        let candidate = &written["candidates"][0];
        assert_eq!(candidate["finishReason"], "SAFETY");
        assert_eq!(
            candidate["content"]["parts"],
            json!([{"functionCall": {"id": "c", "name": "f", "args": {"input": "{"}}}, {"functionCall": {"id": "c", "name": "f", "args": {"input": "free"}}}, {"text": "no"}])
        );
        assert_eq!(written["candidates"][1]["content"]["parts"], json!([{"text": ""}]), "an SDK wants a part");
    }
}
