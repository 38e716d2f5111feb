//! A provider's answer, whole or in frames: the parts that the gateway reads, and the parts that it replaces.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::error;
use super::usage::{self, UsageBody};
use crate::answer::{Answer, AnswerError, Billed, Chunk, Delta, End, Frame, Names, Passing, Piece};
use crate::fields::{self, Edit, Fields, Name};
use crate::reported::Reported;
use crate::usage::Usage;

/// The maximum number of characters kept of a finish reason.
const REASON_CHARS_MAX: usize = 64;
/// Fields that may carry the text of a piece without choices.
const TEXT_FIELDS: [&str; 6] = ["content", "text", "delta", "message", "response", "output_text"];

/// Returns the bytes of a raw value, without the quotes of a string. Null, numbers, booleans and empty values count as no text.
fn text_bytes(raw: &RawValue) -> u64 {
    let raw = raw.get();
    let bytes = match raw.as_bytes().first() {
        Some(b'"') => raw.len().saturating_sub(2),
        Some(b'[' | b'{') if raw[1..raw.len() - 1].trim_ascii().is_empty() => 0,
        Some(b'[' | b'{') => raw.len(),
        _ => 0,
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Returns a finish reason as it is recorded: short and without control characters.
fn reason(raw: &RawValue) -> Option<String> {
    let text = fields::text(raw)?;
    Some(text.chars().filter(|letter| !letter.is_control()).take(REASON_CHARS_MAX).collect()).filter(|text: &String| !text.is_empty())
}

/// The text bytes of one message or delta. All texts are summed, but reasoning counts once even if it is given under several names.
#[derive(Default)]
struct Part(u64);

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Part;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a message")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Part, M::Error> {
                let (mut bytes, mut reasoning) = (0_u64, 0_u64);
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    match name.as_ref() {
                        "role" | "name" | "id" | "type" | "object" | "audio" => {}
                        name if name.starts_with("reasoning") || name == "thinking" => reasoning = reasoning.max(text_bytes(value)),
                        _ => bytes = bytes.saturating_add(text_bytes(value)),
                    }
                }
                Ok(Part(bytes.saturating_add(reasoning)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Part, E> {
                Ok(Part(u64::try_from(text.len()).unwrap_or(u64::MAX)))
            }

            fn visit_unit<E>(self) -> Result<Part, E> {
                Ok(Part(0))
            }
        }
        deserializer.deserialize_any(Members)
    }
}

/// Choices, each metered as it is parsed.
#[derive(Default)]
struct Choices {
    delta: Delta,
    count: usize,
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Choices;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array of choices")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut choices: S) -> Result<Choices, S::Error> {
                let mut all = Choices::default();
                while let Some(Choice(delta)) = choices.next_element()? {
                    all.count += 1;
                    all.delta.text_bytes = all.delta.text_bytes.saturating_add(delta.text_bytes);
                    all.delta.finish_reason = all.delta.finish_reason.or(delta.finish_reason);
                }
                Ok(all)
            }

            fn visit_unit<E>(self) -> Result<Choices, E> {
                Ok(Choices::default())
            }
        }
        deserializer.deserialize_any(All)
    }
}

struct Choice(Delta);

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Choice;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a choice")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Choice, M::Error> {
                let mut delta = Delta::default();
                while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
                    match name.as_ref() {
                        "message" | "delta" => delta.text_bytes = delta.text_bytes.saturating_add(map.next_value::<Part>()?.0),
                        "text" => delta.text_bytes = delta.text_bytes.saturating_add(text_bytes(map.next_value()?)),
                        "finish_reason" => delta.finish_reason = reason(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Choice(delta))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

fn choices(raw: &RawValue) -> Result<Choices, AnswerError> {
    serde_json::from_str(raw.get()).map_err(|_| AnswerError::Malformed)
}

/// Returns the error that an object reports in place of an answer.
pub fn reported(fields: &Fields<'_>, body: &[u8]) -> Option<AnswerError> {
    let has_error = fields.get("error").is_some_and(|raw| !matches!(raw.get(), "null" | "{}" | "\"\"" | "false"));
    let is_error = fields.get("object").is_some_and(|raw| raw.get() == "\"error\"");
    (has_error || is_error).then(|| AnswerError::Reported(Box::new(Reported::read(body))))
}

fn reported_usage(fields: &Fields<'_>) -> Option<Usage> {
    let groq = || Fields::parse(fields.get("x_groq")?.get().as_bytes()).ok()?.get("usage");
    fields.get("usage").and_then(usage::read).or_else(|| usage::read(groq()?))
}

/// Returns the frames that malformed bytes may have meant: several frames without blank lines in between, or text in a wrong encoding.
/// Returns nothing if the bytes cannot be repaired.
#[must_use]
pub fn repaired(frame: &Bytes) -> Vec<Bytes> {
    let text = String::from_utf8_lossy(frame);
    let text = text.trim_start_matches('\u{feff}');
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_each = |line: &&str| *line == "[DONE]" || (line.starts_with('{') && serde_json::from_str::<IgnoredAny>(line).is_ok());
    if lines.len() > 1 && lines.iter().all(is_each) {
        return lines.into_iter().map(|line| Bytes::copy_from_slice(line.as_bytes())).collect();
    }
    let is_changed = text.as_bytes() != frame.as_ref();
    if is_changed { vec![Bytes::copy_from_slice(text.as_bytes())] } else { Vec::new() }
}

/// Reads a whole answer.
///
/// # Errors
/// Fails if the body reports an error, or is not a chat completion.
pub fn read(body: &[u8]) -> Result<Answer, AnswerError> {
    let fields = Fields::parse(body).map_err(|_| AnswerError::Malformed)?;
    if let Some(error) = reported(&fields, body) {
        return Err(error);
    }
    let delta = choices(fields.get("choices").ok_or(AnswerError::Malformed)?)?.delta;
    let usage = reported_usage(&fields);
    let service_tier = fields.read("service_tier").ok().flatten();
    Ok(Answer { usage, service_tier, delta })
}

/// Returns a whole answer for the client, with the gateway's id, model name and usage; everything else is unchanged.
///
/// # Errors
/// Fails if the answer is not a JSON object.
pub fn client_body(answer: &[u8], names: &Names<'_>, billed: &Billed) -> Result<Vec<u8>, AnswerError> {
    let fields = Fields::parse(answer).map_err(|_| AnswerError::Malformed)?;
    let usage = UsageBody::new(billed).over(fields.get("usage"));
    let mut body = Vec::with_capacity(answer.len() + usage.len() + 128);
    fields.write(&[("id", Edit::Put(names.id_json)), ("model", Edit::Put(names.model_json)), ("usage", Edit::Put(&usage))], &mut body);
    Ok(body)
}

/// Reads the data of an SSE frame.
///
/// # Errors
/// Fails if the frame reports an error, or is not a JSON object.
pub fn read_frame(data: &[u8]) -> Result<Frame<'_>, AnswerError> {
    if data.trim_ascii() == b"[DONE]" {
        return Ok(Frame::Done);
    }
    let fields = Fields::parse(data).map_err(|_| AnswerError::Malformed)?;
    if let Some(error) = reported(&fields, data) {
        return Err(error);
    }
    let Choices { mut delta, count } = fields.get("choices").map_or_else(|| Ok(Choices::default()), choices)?;
    if count == 0 {
        let part = |raw: &RawValue| serde_json::from_str::<Part>(raw.get()).unwrap_or_default().0;
        delta.text_bytes = TEXT_FIELDS.iter().filter_map(|name| fields.get(name)).map(part).sum();
    }
    let usage = reported_usage(&fields);
    let service_tier = if usage.is_some() { fields.read("service_tier").ok().flatten() } else { None };
    // A piece without choices and text is metadata.
    let passing = if count > 0 || delta.text_bytes > 0 { Passing::Relayed } else { Passing::Metadata };
    Ok(Frame::Chunk(Chunk { usage, service_tier, delta, passing, is_last: false, piece: Piece::Chat(ChatPiece(fields)) }))
}

/// A piece of a streamed answer over the bytes that it arrived as.
#[derive(Debug)]
pub struct ChatPiece<'a>(Fields<'a>);

impl ChatPiece<'_> {
    /// Writes the frame for the client, with the gateway's id and model name; everything else is unchanged. The usage is left out, because
    /// it is sent once at the end.
    pub fn write(&self, names: &Names<'_>, into: &mut Vec<u8>) {
        into.extend_from_slice(b"data: ");
        self.0.write(&[("id", Edit::Put(names.id_json)), ("model", Edit::Put(names.model_json)), ("usage", Edit::Drop)], into);
        into.extend_from_slice(b"\n\n");
    }

    /// Returns the provider's `created`, in seconds since 1970.
    #[must_use]
    pub fn created_s(&self) -> Option<i64> {
        self.0.read("created").ok().flatten()
    }
}

/// Writes the end of a stream. If the provider sent a frame with usage, that frame is the base of the last one.
pub fn end(usage_frame: Option<&Bytes>, end: &End<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
    match end {
        End::Completed(billed) => usage_and_done(usage_frame, billed, names, into),
        End::Length(billed) => {
            chunk("\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]", names, into);
            usage_and_done(usage_frame, billed, names, into);
        }
        End::Error(error) => {
            let error = error::inner_text(error);
            let choices = "[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]";
            chunk(&format!("\"error\":{error},\"choices\":{choices}"), names, into);
        }
    }
}

fn usage_and_done(usage_frame: Option<&Bytes>, billed: &Billed, names: &Names<'_>, into: &mut Vec<u8>) {
    let usage = UsageBody::new(billed);
    match usage_frame.and_then(|frame| Fields::parse(frame).ok()) {
        None => chunk(&format!("\"choices\":[],\"usage\":{}", usage.over(None)), names, into),
        Some(fields) => {
            let created = names.created_s.to_string();
            let usage = usage.over(fields.get("usage"));
            let edits = [
                ("id", Edit::Put(names.id_json)),
                ("object", Edit::Put("\"chat.completion.chunk\"")),
                ("created", Edit::Put(&created)),
                ("model", Edit::Put(names.model_json)),
                ("choices", Edit::Put("[]")),
                ("usage", Edit::Put(&usage)),
            ];
            into.extend_from_slice(b"data: ");
            fields.write(&edits, into);
            into.extend_from_slice(b"\n\n");
        }
    }
    into.extend_from_slice(b"data: [DONE]\n\n");
}

/// Writes a piece of the gateway's own. `rest` holds its members after the names.
pub(super) fn chunk(rest: &str, names: &Names<'_>, into: &mut Vec<u8>) {
    let Names { id_json: id, model_json: model, created_s, .. } = names;
    let text = format!("data: {{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created_s},\"model\":{model},{rest}}}\n\n");
    into.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn chunk(data: &[u8]) -> Chunk<'_> {
        match read_frame(data) {
            Ok(Frame::Chunk(chunk)) => chunk,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_keeps_foreign_fields_and_gets_ours() {
        let body = br#"{"id":"chatcmpl-1","object":"chat.completion","model":"m-2026","choices":[{"index":0,"message":{"role":"assistant","content":"hey"},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1},"x_groq":{"id":"r"}}"#;
        let response = read(body).unwrap();
        assert_eq!(response.delta, Delta { text_bytes: 3, finish_reason: Some("stop".into()) });
        assert_eq!(response.usage.unwrap().tokens.input, 3);
        let text = String::from_utf8(client_body(body, &testing::NAMES, &testing::billed()).unwrap()).unwrap();
        assert!(
            text.starts_with(r#"{"id":"gen-1","object":"chat.completion","model":"a/m","choices":"#)
                && text.ends_with(r#""ttft_ms":2},"x_groq":{"id":"r"}}"#),
            "{text}"
        );
    }

    #[test]
    fn html_half_a_json_and_errors_are_no_completion() {
        for body in [&b"<html>"[..], b"{\"choices\":[", b"{}", b"{\"choices\":{}}"] {
            assert_eq!(read(body).err(), Some(AnswerError::Malformed));
        }
        let error = read(br#"{"error":{"message":"overloaded","code":529}}"#).err().unwrap();
        assert!(
            matches!(error, AnswerError::Reported(error) if error.message.as_deref() == Some("overloaded") && error.status == Some(529))
        );
    }

    #[test]
    fn frames_are_told_apart() {
        assert!(matches!(read_frame(b"[DONE]"), Ok(Frame::Done)));
        assert!(matches!(read_frame(br#"{"error":{"message":"overloaded"}}"#), Err(AnswerError::Reported(_))));
        assert!(matches!(read_frame(br#"{"object":"error","message":"overloaded"}"#), Err(AnswerError::Reported(_))));
        assert!(read_frame(b"<html>").is_err());
        let last = chunk(br#"{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
        assert!(last.passing == Passing::Metadata && last.usage.is_some());
    }

    #[test]
    fn metadata_is_passed_over_and_text_is_found_wherever_it_stands() {
        for data in [&br#"{"type":"ping"}"#[..], b"{}", br#"{"choices":null,"sla_metrics":{"ttft_ms":3}}"#, br#"{"choices":[],"delta":{}}"#]
        {
            assert_eq!(chunk(data).passing, Passing::Metadata);
        }
        for (data, bytes) in [
            (&br#"{"choices":[{"delta":{"content":"four","role":"assistant"}}]}"#[..], 4),
            (br#"{"choices":[{"text":"four"}]}"#, 4),
            (br#"{"choices":[{"delta":{"reasoning":"four","reasoning_content":"four","reasoning_details":[]}}]}"#, 4),
            (br#"{"choices":[{"delta":{"reasoning_text":"four","new_field":"two2"}}]}"#, 8),
            (br#"{"choices":[{"delta":{"tool_calls":[],"content":"","refusal":null}}]}"#, 0),
            (br#"{"content":"four"}"#, 4),
            (br#"{"delta":{"content":"four"}}"#, 4),
        ] {
            assert_eq!(chunk(data).delta.text_bytes, bytes, "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn an_empty_or_foreign_finish_reason_is_none() {
        for reason in ["\"\"", "null", "7", "{}", "\"\\u0000\""] {
            let data = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":{reason}}}]}}"#);
            assert_eq!(chunk(data.as_bytes()).delta.finish_reason, None, "{reason}");
        }
    }

    #[test]
    fn broken_text_and_joined_frames_are_repaired() {
        let text = repaired(&Bytes::from_static(b"{\"choices\":[{\"delta\":{\"content\":\"\xf0\x9f\x98\"}}]}"));
        assert_eq!(chunk(&text[0]).delta.text_bytes, 3);
        let joined = repaired(&Bytes::from_static(b"{\"choices\":[]}\n{}\n[DONE]"));
        assert_eq!(joined.len(), 3);
        assert!(repaired(&Bytes::from_static(b"<html>")).is_empty());
        assert!(repaired(&Bytes::from_static(b"{\n\"a\":}")).is_empty());
    }

    #[test]
    fn the_last_piece_keeps_what_the_provider_said_beside_its_usage() {
        let frame = Bytes::from_static(
            br#"{"id":"x","created":7,"model":"m","service_tier":"flex","choices":[{"index":0}],"usage":{"accepted":1}}"#,
        );
        let mut out = Vec::new();
        end(Some(&frame), &End::Completed(&testing::billed()), &testing::NAMES, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(
                "data: {\"id\":\"gen-1\",\"created\":7,\"model\":\"a/m\",\"service_tier\":\"flex\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,"
            ) && text.ends_with("\"accepted\":1},\"object\":\"chat.completion.chunk\"}\n\ndata: [DONE]\n\n"),
            "{text}"
        );
    }
}
