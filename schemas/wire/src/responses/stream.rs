//! A streamed answer: the skim of its frames, and the stream to a client of the same format.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::answer::{native_reason, recorded, service_tier, text_bytes};
use super::items::{member, present};
use super::output::{self, Outcome};
pub use super::reader::Reader;
use super::usage::{self, charge};
pub use super::writer::Writer;
use crate::answer::{self, AnswerError, Chunk, Delta, End, Frame, Names, Passing};
use crate::fields::{Edit, Fields, quoted};
use crate::neutral::Text;
use crate::reported::Reported;

/// The number of a last event whose predecessors are not known. It is above every other.
const LAST_SEQUENCE_NUMBER: u32 = u32::MAX;

/// A piece of a streamed answer over the bytes that it arrived as.
#[derive(Debug)]
pub struct Piece<'a>(Fields<'a>);

/// Reads the data of an SSE frame.
///
/// # Errors
/// Fails if the frame reports an error, or is not a JSON object.
pub fn read_frame(data: &[u8]) -> Result<Frame<'_>, AnswerError> {
    let Some(fields) = parse(data)? else { return Ok(Frame::Done) };
    let kind = kind(&fields);
    let is_last = is_final(&kind);
    let response = response(&fields).filter(|_| is_last);
    let usage = response.as_ref().and_then(|response| usage::read(response.get("usage")?));
    let has_text = kind.ends_with(".delta") && kind != "response.audio.delta";
    let chunk = Chunk {
        usage,
        service_tier: response.as_ref().and_then(service_tier),
        delta: Delta {
            text_bytes: fields.get("delta").filter(|_| has_text).map_or(0, text_bytes),
            finish_reason: response.as_ref().and_then(native_reason).and_then(|reason| recorded(&reason)),
        },
        passing: if is_last { Passing::Held } else { Passing::Relayed },
        is_last,
        piece: answer::Piece::Responses(Piece(fields)),
    };
    Ok(Frame::Chunk(chunk))
}

/// Reads the members of a frame; `None` for an end mark.
///
/// # Errors
/// Fails if the frame reports an error, or is not a JSON object.
pub(super) fn parse(data: &[u8]) -> Result<Option<Fields<'_>>, AnswerError> {
    if data.trim_ascii() == b"[DONE]" {
        return Ok(None);
    }
    let fields = Fields::parse(data).map_err(|_| AnswerError::Malformed)?;
    let reported = |bytes: &[u8]| Err(AnswerError::Reported(Box::new(Reported::read(bytes))));
    match kind(&fields).as_ref() {
        "error" => reported(data),
        "response.failed" => reported(fields.get("response").map_or(data, |response| response.get().as_bytes())),
        _ if present(&fields, "error").is_some() => reported(data),
        _ => Ok(Some(fields)),
    }
}

/// Returns the type of an event; empty if it has none.
pub(super) fn kind<'a>(fields: &Fields<'a>) -> Text<'a> {
    member(fields, "type").unwrap_or_default()
}

/// Returns whether a type is that of a last event.
pub(super) fn is_final(kind: &str) -> bool {
    matches!(kind, "response.completed" | "response.incomplete")
}

/// Returns the answer inside an event.
pub(super) fn response<'a>(fields: &Fields<'a>) -> Option<Fields<'a>> {
    Fields::parse(present(fields, "response")?.get().as_bytes()).ok()
}

impl Piece<'_> {
    /// Writes the frame for the client, with the gateway's name of the model; everything else is unchanged.
    pub fn write(&self, names: &Names<'_>, into: &mut Vec<u8>) {
        let edited = response(&self.0).filter(|response| response.get("model").is_some()).map(|response| {
            let mut text = Vec::new();
            response.write(&[("model", Edit::Put(names.model_json))], &mut text);
            String::from_utf8(text).unwrap_or_default()
        });
        begin(&kind(&self.0), into);
        let edits: &[_] = match &edited {
            Some(response) => &[("response", Edit::Put(response))],
            None => &[],
        };
        self.0.write(edits, into);
        into.extend_from_slice(b"\n\n");
    }
}

/// Begins a frame. A type that is no plain word has no `event:` line.
fn begin(kind: &str, into: &mut Vec<u8>) {
    if !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_graphic()) {
        into.extend_from_slice(b"event: ");
        into.extend_from_slice(kind.as_bytes());
        into.push(b'\n');
    }
    into.extend_from_slice(b"data: ");
}

/// Writes the end of a stream over the frame that the provider ended it with.
pub fn end(kept: Option<&Bytes>, end: &End<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
    let outcome = match end {
        End::Completed(_) => Outcome::Completed,
        End::Length(_) => Outcome::LENGTH,
        End::Error(error) => Outcome::of_error(error),
    };
    let billed = match end {
        End::Completed(billed) | End::Length(billed) => Some(*billed),
        End::Error(_) => None,
    };
    let frame = kept.and_then(|kept| Fields::parse(kept).ok());
    let theirs = frame.as_ref().and_then(response);
    let response = match &theirs {
        None => output::response(&outcome, &[], names, billed),
        Some(theirs) => {
            let charge = billed.map(|billed| charge(names, billed));
            let state = (!matches!(end, End::Completed(_))).then(|| State::new(&outcome));
            let mut edits = vec![("model", Edit::Put(names.model_json))];
            edits.extend(charge.as_ref().map(|charge| ("arouter", Edit::Put(charge.get()))));
            edits.extend(state.iter().flat_map(State::edits));
            let mut text = Vec::new();
            theirs.write(&edits, &mut text);
            text
        }
    };
    let their_kind = frame.as_ref().map(kind).filter(|_| matches!(end, End::Completed(_)) && theirs.is_some());
    let kind = their_kind.unwrap_or_else(|| outcome.event().into());
    let number = frame.as_ref().and_then(|frame| frame.get("sequence_number")).map(RawValue::get);
    let number = number.map_or_else(|| LAST_SEQUENCE_NUMBER.to_string(), str::to_owned);
    let response = String::from_utf8(response).unwrap_or_default();
    let kind_json = quoted(&kind);
    let edits = [("type", Edit::Put(&kind_json)), ("sequence_number", Edit::Put(&number)), ("response", Edit::Put(&response))];
    begin(&kind, into);
    frame.unwrap_or(Fields(Vec::new())).write(&edits, into);
    into.extend_from_slice(b"\n\n");
}

/// The members that say the state of an answer, as JSON.
struct State {
    status: String,
    incomplete_details: String,
    error: String,
}

impl State {
    fn new(outcome: &Outcome<'_>) -> Self {
        let json = |value: Result<String, serde_json::Error>| value.unwrap_or_else(|_| "null".to_owned());
        Self {
            status: quoted(outcome.status()),
            incomplete_details: json(serde_json::to_string(&outcome.incomplete_details())),
            error: json(serde_json::to_string(&outcome.error())),
        }
    }

    fn edits(&self) -> [(&'static str, Edit<'_>); 3] {
        [
            ("status", Edit::Put(&self.status)),
            ("incomplete_details", Edit::Put(&self.incomplete_details)),
            ("error", Edit::Put(&self.error)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client_error::ClientError;
    use crate::testing;

    fn chunk(data: &str) -> Chunk<'_> {
        match read_frame(data.as_bytes()) {
            Ok(Frame::Chunk(chunk)) => chunk,
            other => panic!("{other:?}"),
        }
    }

    fn ended(kept: Option<&'static str>, end: &End<'_>) -> (String, Value) {
        let mut out = Vec::new();
        super::end(kept.map(|kept| Bytes::from_static(kept.as_bytes())).as_ref(), end, &testing::NAMES, &mut out);
        let text = String::from_utf8(out).unwrap();
        let (event, data) = text.split_once('\n').unwrap();
        assert!(text.ends_with("}\n\n"));
        (event.to_owned(), serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap())
    }

    const LAST: &str = r#"{"type":"response.completed","sequence_number":9,"response":{"id":"resp_9","model":"m","status":"completed","output":[1],"usage":{"input_tokens":3,"output_tokens":4}},"x":1}"#;

    #[test]
    fn frames_are_told_apart() {
        assert!(matches!(read_frame(b"[DONE]"), Ok(Frame::Done)));
        for (data, message) in [
            (r#"{"type":"error","code":"server_error","message":"overloaded","param":null,"sequence_number":3}"#, "overloaded"),
            (
                r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"}}}"#,
                "slow",
            ),
            (r#"{"error":{"message":"flat"}}"#, "flat"),
        ] {
            let Err(AnswerError::Reported(error)) = read_frame(data.as_bytes()) else { panic!("{data}") };
            assert_eq!(error.message.as_deref(), Some(message));
        }
        assert_eq!(read_frame(b"<html>").err(), Some(AnswerError::Malformed));
        let last = chunk(LAST);
        assert_eq!((last.passing, last.is_last, last.usage.unwrap().tokens.output), (Passing::Held, true, 4));
        assert_eq!(last.delta.finish_reason.as_deref(), Some("completed"));
        let first = chunk(r#"{"type":"response.created","response":{"status":"in_progress","usage":null}}"#);
        assert_eq!((first.passing, first.is_last, first.usage, first.delta.finish_reason), (Passing::Relayed, false, None, None));
    }

    #[test]
    fn content_is_metered_in_pieces_only() {
        for (kind, bytes) in [
            ("response.output_text.delta", 4),
            ("response.refusal.delta", 4),
            ("response.reasoning_summary_text.delta", 4),
            ("response.reasoning_text.delta", 4),
            ("response.function_call_arguments.delta", 4),
            ("response.custom_tool_call_input.delta", 4),
            ("response.what_comes_next.delta", 4),
            ("response.audio.delta", 0),
            ("response.output_text.done", 0),
        ] {
            assert_eq!(chunk(&format!(r#"{{"type":"{kind}","delta":"four"}}"#)).delta.text_bytes, bytes, "{kind}");
        }
        assert_eq!(chunk(r#"{"type":"response.what_comes_next.delta","delta":{"a":1}}"#).delta.text_bytes, 0);
    }

    #[test]
    fn a_frame_passes_unchanged_but_for_the_models_name() {
        let written = |data: &str| {
            let mut out = Vec::new();
            chunk(data).write(&testing::NAMES, &mut out);
            String::from_utf8(out).unwrap()
        };
        let delta = r#"{"type":"response.output_text.delta","delta":"\u00e9","obfuscation":"x"}"#;
        assert_eq!(written(delta), format!("event: response.output_text.delta\ndata: {delta}\n\n"));
        assert_eq!(
            written(r#"{"type":"response.created","response":{"id":"r","model":"m","x":1.0},"sequence_number":0}"#),
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"a/m\",\"x\":1.0},\"sequence_number\":0}\n\n"
        );
        assert_eq!(written(r#"{"type":"a\nb"}"#), "data: {\"type\":\"a\\nb\"}\n\n", "no line of an attacker");
    }

    #[test]
    fn the_last_frame_gets_the_charge_and_keeps_the_rest() {
        let billed = testing::billed();
        let (event, data) = ended(Some(LAST), &End::Completed(&billed));
        assert_eq!(event, "event: response.completed");
        let charge = json!({"cost":0.000_001_5,"generation_id":"gen-1","provider":"p"});
        let response = json!({"id":"resp_9","model":"a/m","status":"completed","output":[1],"usage":{"input_tokens":3,"output_tokens":4},"arouter":charge});
        assert_eq!(data, json!({"type":"response.completed","sequence_number":9,"response":response,"x":1}));
        let (event, data) = ended(Some(LAST), &End::Length(&billed));
        assert_eq!((event.as_str(), &data["type"]), ("event: response.incomplete", &json!("response.incomplete")));
        assert_eq!(
            (&data["response"]["status"], &data["response"]["incomplete_details"]["reason"]),
            (&json!("incomplete"), &json!("max_output_tokens"))
        );
    }

    #[test]
    fn an_end_without_a_frame_is_complete_by_itself() {
        let billed = testing::billed();
        let (event, data) = ended(None, &End::Length(&billed));
        assert_eq!((event.as_str(), &data["response"]["usage"]["output_tokens"]), ("event: response.incomplete", &json!(3)));
        assert!(data["sequence_number"].is_u64() && data["response"]["arouter"].is_object());
        let metadata = json!({});
        let error = ClientError {
            status: 502,
            message: "broke off",
            kind: "upstream_error",
            code: "provider_error",
            has_status_code: false,
            retry_after_s: None,
            param: None,
            metadata: &metadata,
        };
        let (event, data) = ended(None, &End::Error(&error));
        assert_eq!(event, "event: response.failed");
        assert_eq!(data["response"]["error"], json!({"code":"server_error","message":"broke off"}));
        assert_eq!((&data["response"]["status"], data["response"].get("arouter")), (&json!("failed"), None));
        assert_eq!(ended(None, &End::Completed(&billed)).0, "event: response.completed");
    }
}
