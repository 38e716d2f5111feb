//! Whole answers.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::annotation::Annotation;
use super::items::{self, Item, list, member, present};
use super::output::{self, Outcome, OutputContent, OutputItem, item_id};
use super::usage::{self, charge};
use crate::answer::{Answer, AnswerError, Billed, Delta, Names};
use crate::call::Format;
use crate::fields::{Edit, Fields};
use crate::neutral::{self, Choice, Finish, Json, Part, Reason, Reasoning, Signature, Text, ToolCall};
use crate::reported::Reported;

/// The maximum number of characters kept of a finish reason.
const REASON_CHARS_MAX: usize = 64;
/// Members of items that are text of the model.
const TEXTS: [&str; 3] = ["arguments", "input", "code"];

/// Reads the metered parts of an answer.
///
/// # Errors
/// Fails if the body reports an error, or is not an answer of this format.
pub fn read(body: &[u8]) -> Result<Answer, AnswerError> {
    let fields = parse(body)?;
    let text_bytes = list(&fields, "output").into_iter().map(item_bytes).sum();
    Ok(Answer {
        usage: fields.get("usage").and_then(usage::read),
        service_tier: service_tier(&fields),
        delta: Delta { text_bytes, finish_reason: native_reason(&fields).and_then(|reason| recorded(&reason)) },
    })
}

/// Returns the service tier that an answer names.
pub(super) fn service_tier(response: &Fields<'_>) -> Option<String> {
    member(response, "service_tier").map(Cow::into_owned)
}

fn parse(body: &[u8]) -> Result<Fields<'_>, AnswerError> {
    let fields = Fields::parse(body).map_err(|_| AnswerError::Malformed)?;
    let is_over = |status: Text<'_>| matches!(status.as_ref(), "failed" | "cancelled");
    if present(&fields, "error").is_some() || member(&fields, "status").is_some_and(is_over) {
        return Err(AnswerError::Reported(Box::new(Reported::read(body))));
    }
    let is_pending = |status: Text<'_>| matches!(status.as_ref(), "queued" | "in_progress");
    let has_output = present(&fields, "output").is_some_and(|raw| raw.get().starts_with('['));
    if !has_output || member(&fields, "status").is_some_and(is_pending) {
        return Err(AnswerError::Malformed);
    }
    Ok(fields)
}

/// Returns the bytes of the texts of an item, as JSON without the quotes.
fn item_bytes(raw: &RawValue) -> u64 {
    let Ok(item) = Fields::parse(raw.get().as_bytes()) else { return 0 };
    let of_parts = |name: &str| {
        let part = |raw: &RawValue| {
            let Ok(part) = Fields::parse(raw.get().as_bytes()) else { return 0 };
            ["text", "refusal"].iter().filter_map(|name| part.get(name)).map(text_bytes).sum()
        };
        list(&item, name).into_iter().map(part).sum::<u64>()
    };
    let plain: u64 = TEXTS.iter().filter_map(|name| item.get(name)).map(text_bytes).sum();
    plain.saturating_add(of_parts("content")).saturating_add(of_parts("summary"))
}

/// Returns the bytes of a JSON string without its quotes; none for another value.
pub(super) fn text_bytes(raw: &RawValue) -> u64 {
    let bytes = raw.get().strip_prefix('"').map_or(0, |rest| rest.len().saturating_sub(1));
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Returns the provider's own word for the end of an answer: the reason why it is incomplete, or its status.
pub(super) fn native_reason<'a>(response: &Fields<'a>) -> Option<Text<'a>> {
    let details = || Fields::parse(present(response, "incomplete_details")?.get().as_bytes()).ok();
    let status = member(response, "status");
    let reason = || member(&details()?, "reason");
    if status.as_deref() == Some("incomplete") { reason().or(status) } else { status }
}

/// Returns a reason as it is recorded: short and without control characters.
pub(super) fn recorded(reason: &str) -> Option<String> {
    Some(reason.chars().filter(|letter| !letter.is_control()).take(REASON_CHARS_MAX).collect()).filter(|text: &String| !text.is_empty())
}

/// Returns the finish of an answer.
pub(super) fn finish<'a>(response: &Fields<'a>, has_calls: bool) -> Finish<'a> {
    let native = native_reason(response);
    let reason = match (member(response, "status").as_deref(), native.as_deref()) {
        (Some("incomplete"), Some("max_output_tokens")) => Reason::Length,
        (Some("incomplete"), Some("content_filter")) => Reason::Filtered,
        (Some("incomplete"), _) => Reason::Paused,
        _ if has_calls => Reason::ToolCalls,
        _ => Reason::Stop,
    };
    Finish { reason, native, ..Finish::default() }
}

/// Returns the time at which an answer was begun, in seconds since 1970.
pub(super) fn created_s(response: &Fields<'_>) -> Option<i64> {
    let raw = response.get("created_at")?.get();
    raw.split('.').next()?.parse().ok()
}

/// Returns the answer for a client of this format: the provider's, with the gateway's model name, and the charge beside the usage.
///
/// # Errors
/// Fails if the body is not an answer of this format.
pub fn client_body(body: &[u8], names: &Names<'_>, billed: &Billed) -> Result<Vec<u8>, AnswerError> {
    let fields = Fields::parse(body).map_err(|_| AnswerError::Malformed)?;
    let charge = charge(names, billed);
    let mut out = Vec::with_capacity(body.len() + charge.get().len() + 128);
    fields.write(&[("model", Edit::Put(names.model_json)), ("arouter", Edit::Put(charge.get()))], &mut out);
    Ok(out)
}

/// Reads an answer into the neutral form.
///
/// # Errors
/// Fails if the body reports an error, or is not an answer of this format.
pub fn neutral(body: &[u8]) -> Result<neutral::Answer<'_>, AnswerError> {
    let fields = parse(body)?;
    let mut choice = Choice::default();
    let mut probabilities: Vec<&RawValue> = Vec::new();
    for raw in list(&fields, "output") {
        match items::read(raw) {
            Some(Item::Message { role: _, parts, logprobs }) => {
                choice.parts.extend(parts);
                probabilities
                    .extend(logprobs.into_iter().flat_map(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).unwrap_or_default()));
            }
            Some(Item::Call(call)) => choice.parts.push(Part::ToolCall(call)),
            Some(Item::Reasoning(all)) => choice.parts.extend(all.into_iter().map(Part::Reasoning)),
            Some(Item::Result(_) | Item::Opaque(..)) | None => {
                choice.parts.push(Part::Opaque { format: Format::Responses, raw: raw.into() });
            }
        }
    }
    let has_calls = choice.parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    choice.finish = finish(&fields, has_calls);
    choice.logprobs = (!probabilities.is_empty()).then(|| Json::of(&probabilities));
    Ok(neutral::Answer { id: member(&fields, "id"), model: member(&fields, "model"), created_s: created_s(&fields), choices: vec![choice] })
}

/// Writes a neutral answer for a client of this format.
pub fn write(answer: &neutral::Answer<'_>, names: &Names<'_>, billed: &Billed) -> Vec<u8> {
    let nothing = Choice::default();
    let choice = answer.choices.first().unwrap_or(&nothing);
    let outcome = Outcome::of(&choice.finish);
    let logprobs = choice.logprobs.as_ref().and_then(Json::read).unwrap_or_default();
    let mut items = Items { names, done: Vec::new(), content: Vec::new(), logprobs };
    for part in &choice.parts {
        items.part(part);
    }
    items.message(outcome.item_status());
    output::response(&outcome, &items.done, names, Some(billed))
}

/// The items of an answer as they are written.
struct Items<'a> {
    names: &'a Names<'a>,
    done: Vec<Json<'static>>,
    /// The parts of the message that is not complete yet.
    content: Vec<OutputContent<'a>>,
    /// The probabilities of the tokens, for the first text.
    logprobs: Vec<Box<RawValue>>,
}

impl<'a> Items<'a> {
    fn part(&mut self, part: &'a Part<'_>) {
        match part {
            Part::Text { text, signature: None, .. } if text.is_empty() => {}
            Part::Text { text, citations, cache: _, signature } => {
                if let Some(signature) = signature {
                    self.signature(signature);
                }
                if !text.is_empty() {
                    let annotations = Annotation::all(citations, text).iter().map(Json::of).collect();
                    let logprobs = std::mem::take(&mut self.logprobs);
                    self.content.push(OutputContent::OutputText { annotations, logprobs, text: Cow::Borrowed(text) });
                }
                if signature.is_some() {
                    self.message("completed");
                }
            }
            Part::Refusal(refusal) => self.content.push(OutputContent::Refusal { refusal: Cow::Borrowed(refusal) }),
            Part::Reasoning(reasoning) => self.reasoning(reasoning),
            Part::ToolCall(call) => self.call(call),
            Part::Opaque { format: Format::Responses, raw } => {
                self.message("completed");
                self.done.push(raw.clone().into_owned());
            }
            // A vendor's own trace has no place here, and models send no media and no results.
            Part::Opaque { format: Format::Chat | Format::Messages | Format::Generate | Format::Embeddings(_), .. }
            | Part::Media(_)
            | Part::ToolResult(_) => {}
        }
    }

    fn reasoning(&mut self, reasoning: &Reasoning<'_>) {
        let id = self.next_id("rs");
        self.done.push(Json::of(&output::reasoning(reasoning.id.as_deref().unwrap_or(&id), reasoning)));
    }

    fn call(&mut self, call: &ToolCall<'_>) {
        let ToolCall { id: call_id, name, arguments, is_custom, signature, cache: _ } = call;
        if let Some(signature) = signature {
            self.signature(signature);
        }
        let id = self.next_id(output::call_prefix(*is_custom));
        let arguments = output::arguments(arguments, *is_custom);
        self.done.push(Json::of(&output::call(&id, call_id, name, arguments, *is_custom, "completed")));
    }

    /// Appends the signature of what comes next.
    fn signature(&mut self, signature: &Signature<'_>) {
        let id = self.next_id("rs");
        self.done.push(Json::of(&output::signature(&id, signature)));
    }

    /// Completes the open message, and returns the id of the item behind it.
    fn next_id(&mut self, prefix: &str) -> String {
        self.message("completed");
        item_id(prefix, self.names, self.done.len())
    }

    /// Completes the open message.
    fn message(&mut self, status: &'static str) {
        if self.content.is_empty() {
            return;
        }
        let content = std::mem::take(&mut self.content);
        let id = item_id("msg", self.names, self.done.len());
        self.done.push(Json::of(&OutputItem::Message { id: &id, status, role: "assistant", content: &content }));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::neutral::{Citation, Vendor};
    use crate::testing;

    #[test]
    fn html_half_a_json_and_errors_are_no_answer() {
        for body in [&b"<html>"[..], b"{\"output\":[", b"{}", b"{\"output\":{}}", b"{\"output\":[],\"status\":\"queued\"}"] {
            assert_eq!(read(body).err(), Some(AnswerError::Malformed), "{}", String::from_utf8_lossy(body));
            assert_eq!(neutral(body).err(), Some(AnswerError::Malformed));
        }
        for body in [
            &br#"{"error":{"message":"overloaded","code":"server_error"}}"#[..],
            br#"{"id":"resp_1","object":"response","status":"failed","output":[],"error":{"message":"overloaded","code":"server_error"}}"#,
        ] {
            let Err(AnswerError::Reported(error)) = read(body) else { panic!() };
            assert_eq!((error.message.as_deref(), error.code.as_deref()), (Some("overloaded"), Some("server_error")));
        }
        assert!(matches!(read(br#"{"status":"cancelled","output":[]}"#), Err(AnswerError::Reported(_))));
    }

    #[test]
    fn all_text_of_the_model_is_metered() {
        let body = br#"{"output":[{"type":"reasoning","summary":[{"text":"1234"}],"content":[{"text":"56"}],"encrypted_content":"no"},
            {"type":"message","content":[{"type":"output_text","text":"789"},{"type":"refusal","refusal":"0"}]},
            {"type":"function_call","name":"no","arguments":"{}"},{"type":"custom_tool_call","input":"ab"}],"service_tier":"flex"}"#;
        let answer = read(body).unwrap();
        assert_eq!((answer.delta.text_bytes, answer.delta.finish_reason, answer.usage), (14, None, None));
        assert_eq!(answer.service_tier.as_deref(), Some("flex"));
    }

    #[test]
    fn the_answer_of_the_same_format_keeps_foreign_fields_and_gets_ours() {
        let body = br#"{"id":"resp_9","model":"m-2026","output":[],"usage":{"input_tokens":1,"new":2},"x":[1, 2]}"#;
        let text = String::from_utf8(client_body(body, &testing::NAMES, &testing::billed()).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{"id":"resp_9","model":"a/m","output":[],"usage":{"input_tokens":1,"new":2},"x":[1, 2],"arouter":{"cost":0.0000015,"generation_id":"gen-1","provider":"p"}}"#
        );
        assert!(client_body(b"<html>", &testing::NAMES, &testing::billed()).is_err());
    }

    #[test]
    fn each_end_has_its_reason() {
        let reason = |status: &str, details: &str, call: &str| {
            let body = format!(r#"{{"status":"{status}","incomplete_details":{details},"output":[{call}]}}"#);
            let finish = neutral(body.as_bytes()).unwrap().choices.remove(0).finish;
            (finish.reason, finish.native.unwrap_or_default().into_owned())
        };
        let call = r#"{"type":"function_call","call_id":"1","name":"f","arguments":"{}"}"#;
        let native = |reason, word: &str| (reason, word.to_owned());
        assert_eq!(reason("completed", "null", ""), native(Reason::Stop, "completed"));
        assert_eq!(reason("completed", "null", call), native(Reason::ToolCalls, "completed"));
        assert_eq!(reason("incomplete", r#"{"reason":"max_output_tokens"}"#, call), native(Reason::Length, "max_output_tokens"));
        assert_eq!(reason("incomplete", r#"{"reason":"content_filter"}"#, ""), native(Reason::Filtered, "content_filter"));
        assert_eq!(reason("incomplete", r#"{"reason":"steered"}"#, ""), native(Reason::Paused, "steered"));
        assert_eq!(reason("incomplete", "null", ""), native(Reason::Paused, "incomplete"));
        assert_eq!(reason("what_comes_next", "null", ""), native(Reason::Stop, "what_comes_next"));
    }

    fn written(parts: Vec<Part<'static>>, reason: Reason) -> Value {
        let finish = Finish { reason, message: Some("m".into()), ..Finish::default() };
        let answer = neutral::Answer { choices: vec![Choice { parts, finish, logprobs: None }], ..neutral::Answer::default() };
        serde_json::from_slice(&write(&answer, &testing::NAMES, &testing::billed())).unwrap()
    }

    fn signed(vendor: Vendor) -> Signature<'static> {
        Signature { vendor, data: "s".into() }
    }

    fn call(signature: Option<Signature<'static>>) -> Part<'static> {
        Part::ToolCall(ToolCall { id: "c".into(), name: "f".into(), arguments: "".into(), is_custom: false, signature, cache: None })
    }

    #[test]
    fn texts_make_one_message_and_foreign_signatures_their_own_items() {
        let citation = Citation::Url { url: "https://x".into(), title: None, start: None, end: None };
        let cited = Part::Text { text: "é".into(), citations: vec![citation], cache: None, signature: None };
        let thought = Reasoning { text: "t".into(), signature: Some(signed(Vendor::Anthropic)), ..Reasoning::default() };
        let hidden = Reasoning { signature: Some(signed(Vendor::Anthropic)), ..Reasoning::default() };
        let redacted = Reasoning { encrypted: Some(signed(Vendor::Anthropic)), ..Reasoning::default() };
        let trace = Part::Opaque { format: Format::Messages, raw: Json::of(&json!({})) };
        let thoughts = [thought, hidden, redacted].map(Part::Reasoning);
        let parts =
            [&thoughts[..], &[Part::text("a"), cited, Part::Refusal("no".into()), trace, call(Some(signed(Vendor::Google))), call(None)]]
                .concat();
        let body = written(parts, Reason::ToolCalls);
        let anthropic = "arouter:anthropic-claude-v1:s";
        let text = |text: &str, annotations: Value| json!({"type":"output_text","annotations":annotations,"logprobs":[],"text":text});
        let url = json!([{"type":"url_citation","url":"https://x","title":"https://x","start_index":0,"end_index":1}]);
        let call = |id: &str| json!({"type":"function_call","id":id,"call_id":"c","name":"f","arguments":"{}","status":"completed"});
        assert_eq!(
            body["output"],
            json!([
                {"type":"reasoning","id":"rs_1_0","summary":[],"content":[{"type":"reasoning_text","text":"t"}],"encrypted_content":anthropic},
                {"type":"reasoning","id":"rs_1_1","summary":[{"type":"summary_text","text":""}],"encrypted_content":anthropic},
                {"type":"reasoning","id":"rs_1_2","summary":[],"encrypted_content":anthropic},
                {"type":"message","id":"msg_1_3","status":"completed","role":"assistant",
                 "content":[text("a", json!([])), text("é", url), {"type":"refusal","refusal":"no"}]},
                {"type":"reasoning","id":"rs_1_4","summary":[],"encrypted_content":"arouter:google-gemini-v1:s"},
                call("fc_1_5"),
                call("fc_1_6"),
            ])
        );
        assert_eq!(
            (&body["id"], &body["model"], &body["status"], &body["created_at"]),
            (&json!("resp_1"), &json!("a/m"), &json!("completed"), &json!(7))
        );
        assert_eq!(body["usage"]["input_tokens"], 5);
        assert_eq!(body["arouter"]["generation_id"], "gen-1");
    }

    #[test]
    fn the_history_of_a_written_answer_reads_to_the_same_parts() {
        let thought = |text: &'static str, signature, encrypted| {
            Part::Reasoning(Reasoning { text: text.into(), signature, encrypted, is_summary: false, id: None })
        };
        let signed_text = Part::Text { text: "a".into(), citations: Vec::new(), cache: None, signature: Some(signed(Vendor::Google)) };
        let parts = vec![
            thought("t", Some(signed(Vendor::Anthropic)), None),
            thought("", None, Some(signed(Vendor::Anthropic))),
            signed_text,
            call(Some(signed(Vendor::Google))),
        ];
        let output = written(parts.clone(), Reason::ToolCalls)["output"].clone();
        let request = json!({"model":"b","input":output}).to_string();
        let (_, body) = super::super::request::read(request.as_bytes()).unwrap();
        let turns = body.neutral().unwrap().turns;
        let mut read = turns[0].parts.clone();
        for part in &mut read {
            match part {
                Part::Reasoning(reasoning) => reasoning.id = None,
                Part::ToolCall(call) => call.arguments = "".into(),
                Part::Text { .. } | Part::Refusal(_) | Part::Media(_) | Part::ToolResult(_) | Part::Opaque { .. } => {}
            }
        }
        assert_eq!((turns.len(), read), (1, parts));
    }

    #[test]
    fn a_written_end_has_its_status() {
        let end = |reason| {
            let body = written(vec![Part::text("a")], reason);
            (body["status"].clone(), body["incomplete_details"].clone(), body["error"].clone(), body["output"][0]["status"].clone())
        };
        let complete = (json!("completed"), Value::Null, Value::Null, json!("completed"));
        assert_eq!((end(Reason::Stop), end(Reason::StopSequence)), (complete.clone(), complete));
        let incomplete = |reason: Value| (json!("incomplete"), json!({"reason":reason}), Value::Null, json!("incomplete"));
        assert_eq!(end(Reason::Length), incomplete(json!("max_output_tokens")));
        assert_eq!(end(Reason::Filtered), incomplete(json!("content_filter")));
        assert_eq!(end(Reason::Paused), incomplete(Value::Null));
        assert_eq!(end(Reason::Broken).2, json!({"code":"server_error","message":"m"}));
    }

    #[test]
    fn probabilities_go_with_the_first_text() {
        let logprobs = json!([{"token":"a","bytes":[97],"logprob":-0.5,"top_logprobs":[]}]);
        let choice = Choice { parts: vec![Part::text("a"), Part::text("b")], logprobs: Some(Json::of(&logprobs)), ..Choice::default() };
        let answer = neutral::Answer { choices: vec![choice], ..neutral::Answer::default() };
        let bytes = write(&answer, &testing::NAMES, &testing::billed());
        assert_eq!(neutral(&bytes).unwrap().choices[0].logprobs, Some(Json::of(&logprobs)));
    }
}
