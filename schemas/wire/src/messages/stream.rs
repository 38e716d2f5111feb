//! The frames of a stream of Anthropic's format: metered and passed on.

use bytes::Bytes;

use super::answer::{FinishBody, block_bytes, finish_reason, parse};
use super::error;
use super::members::{given, length, object, text};
pub use super::reader::Reader;
use super::usage::{self, UsageBody};
pub use super::writer::Writer;
use crate::answer::{AnswerError, Billed, Chunk, Delta, End, Frame, Names, Passing, Piece as AnyPiece};
use crate::fields::{Edit, Fields};
use crate::neutral::Finish;

/// A frame over the bytes that it arrived as.
#[derive(Debug)]
pub struct Piece<'a>(Fields<'a>);

/// Reads the data of a frame.
///
/// # Errors
/// Fails if the frame reports an error, or is not a JSON object.
pub fn read_frame(data: &[u8]) -> Result<Frame<'_>, AnswerError> {
    if data.trim_ascii() == b"[DONE]" {
        return Ok(Frame::Done);
    }
    let fields = parse(data)?;
    let mut chunk = Chunk {
        usage: None,
        service_tier: None,
        delta: Delta::default(),
        passing: Passing::Relayed,
        is_last: false,
        piece: AnyPiece::Messages(Piece(Fields(Vec::new()))),
    };
    match text(&fields, "type").as_deref() {
        Some("message_stop") => return Ok(Frame::Done),
        Some("message_start") => {
            let message = given(&fields, "message").and_then(object);
            let usage = message.and_then(|message| message.get("usage"));
            chunk.usage = usage.and_then(usage::read);
            chunk.service_tier = usage.and_then(usage::service_tier);
        }
        Some("content_block_start") => chunk.delta.text_bytes = given(&fields, "content_block").map_or(0, block_bytes),
        Some("content_block_delta") => {
            chunk.delta.text_bytes = given(&fields, "delta").and_then(object).map_or(0, |delta| delta_bytes(&delta));
        }
        Some("message_delta") => {
            chunk.usage = fields.get("usage").and_then(usage::read);
            chunk.delta.finish_reason = given(&fields, "delta").and_then(object).and_then(|delta| finish_reason(&delta));
            if chunk.delta.finish_reason.is_some() {
                chunk.passing = Passing::Held;
            }
        }
        Some(_) | None => {}
    }
    chunk.piece = AnyPiece::Messages(Piece(fields));
    Ok(Frame::Chunk(chunk))
}

/// Returns the bytes of what the model wrote in a delta. Signatures and citations are no output.
fn delta_bytes(delta: &Fields<'_>) -> u64 {
    let is_text = |name: &str| !matches!(name, "type" | "signature" | "citation");
    let texts = delta.0.iter().filter(|(name, raw)| is_text(name) && raw.get().starts_with('"'));
    texts.map(|(_, raw)| length(raw)).sum()
}

impl Piece<'_> {
    /// Writes the frame for the client, with the gateway's name of the model; everything else is unchanged.
    pub fn write(&self, names: &Names<'_>, into: &mut Vec<u8>) {
        self.write_with(&[], names, into);
    }

    fn write_with(&self, edits: &[(&str, Edit<'_>)], names: &Names<'_>, into: &mut Vec<u8>) {
        // The raw text has no line ends: a string escapes them.
        if let Some(kind) = self.0.get("type").and_then(|raw| raw.get().strip_prefix('"')?.strip_suffix('"')) {
            into.extend_from_slice(b"event: ");
            into.extend_from_slice(kind.as_bytes());
            into.push(b'\n');
        }
        into.extend_from_slice(b"data: ");
        let start = into.len();
        let message = given(&self.0, "message").and_then(object).map(|message| {
            let mut text = Vec::new();
            message.write(&[("model", Edit::Put(names.model_json))], &mut text);
            String::from_utf8(text).unwrap_or_default()
        });
        match &message {
            None => self.0.write(edits, into),
            Some(message) => self.0.write(&[edits, &[("message", Edit::Put(message))]].concat(), into),
        }
        // A line end between two values would end the data.
        into.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        into.extend_from_slice(b"\n\n");
    }

    /// Returns the number of the content block that is open after this frame. `open` is the one that was open before it.
    #[must_use]
    pub fn open_block(&self, open: Option<u64>) -> Option<u64> {
        match text(&self.0, "type").as_deref() {
            Some("content_block_start") => self.0.read("index").ok().flatten().or(open),
            Some("content_block_stop") => None,
            Some(_) | None => open,
        }
    }
}

/// Writes the end of a stream. `kept` is the provider's frame with the finish reason, which the charge is added to.
pub fn end(kept: Option<&Bytes>, open_block: Option<u64>, end: &End<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
    match end {
        End::Completed(billed) => {
            let fields = kept.and_then(|frame| Fields::parse(frame).ok());
            match fields.filter(|fields| text(fields, "type").is_some_and(|kind| kind == "message_delta")) {
                Some(fields) => {
                    let charge = usage::charge(names, billed);
                    Piece(fields).write_with(&[("arouter", Edit::Put(&charge))], names, into);
                }
                None => message_delta(&FinishBody::new(&Finish::default(), false, false), billed, names, into),
            }
            stop(into);
        }
        End::Length(billed) => {
            if let Some(index) = open_block {
                block_stop(index, into);
            }
            message_delta(&FinishBody::length(), billed, names, into);
            stop(into);
        }
        End::Error(error) => frame("error", &error::body(error, Some(names.id)), into),
    }
}

/// Writes a frame.
pub(super) fn frame(kind: &str, data: &str, into: &mut Vec<u8>) {
    for text in ["event: ", kind, "\ndata: ", data, "\n\n"] {
        into.extend_from_slice(text.as_bytes());
    }
}

pub(super) fn block_stop(index: u64, into: &mut Vec<u8>) {
    frame("content_block_stop", &format!(r#"{{"type":"content_block_stop","index":{index}}}"#), into);
}

/// Writes the frame with the finish reason, the usage and the charge.
pub(super) fn message_delta(finish: &FinishBody<'_>, billed: &Billed, names: &Names<'_>, into: &mut Vec<u8>) {
    let delta = serde_json::to_string(finish).unwrap_or_default();
    let usage = serde_json::to_string(&UsageBody::new(&billed.tokens)).unwrap_or_default();
    let charge = usage::charge(names, billed);
    frame("message_delta", &format!(r#"{{"type":"message_delta","delta":{delta},"usage":{usage},"arouter":{charge}}}"#), into);
}

pub(super) fn stop(into: &mut Vec<u8>) {
    frame("message_stop", r#"{"type":"message_stop"}"#, into);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_error::ClientError;
    use crate::testing;

    fn chunk(data: &str) -> Chunk<'_> {
        match read_frame(data.as_bytes()) {
            Ok(Frame::Chunk(chunk)) => chunk,
            other => panic!("{other:?}"),
        }
    }

    fn written(data: &str) -> String {
        let mut text = Vec::new();
        chunk(data).write(&testing::NAMES, &mut text);
        String::from_utf8(text).unwrap()
    }

    fn ended(kept: Option<&str>, open_block: Option<u64>, end: &End<'_>) -> String {
        let kept = kept.map(|kept| Bytes::copy_from_slice(kept.as_bytes()));
        let mut text = Vec::new();
        super::end(kept.as_ref(), open_block, end, &testing::NAMES, &mut text);
        String::from_utf8(text).unwrap()
    }

    const START: &str = r#"{"type":"message_start","message":{"id":"msg_x","model":"claude","usage":{"input_tokens":9,"cache_creation_input_tokens":7,
        "cache_creation":{"ephemeral_1h_input_tokens":7},"output_tokens":1,"service_tier":"priority"}}}"#;
    const LAST: &str =
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5,"cache_creation_input_tokens":7}}"#;

    #[test]
    fn frames_are_told_apart() {
        assert!(matches!(read_frame(br#"{"type":"message_stop"}"#), Ok(Frame::Done)));
        assert!(matches!(read_frame(b"[DONE]"), Ok(Frame::Done)));
        assert!(matches!(read_frame(br#"{"type":"error","error":{"type":"api_error","message":"x"}}"#), Err(AnswerError::Reported(_))));
        assert_eq!(read_frame(b"<html>").unwrap_err(), AnswerError::Malformed);
        let (first, last) = (chunk(START), chunk(LAST));
        assert_eq!((first.passing, first.service_tier.as_deref()), (Passing::Relayed, Some("priority")));
        assert_eq!((last.passing, last.delta.finish_reason.as_deref()), (Passing::Held, Some("end_turn")));
        let tokens = last.usage.unwrap().after(first.usage).tokens;
        assert_eq!((tokens.input, tokens.cache_write_1h, tokens.output), (9, 7, 5));
        let early = r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":5}}"#;
        assert_eq!(chunk(early).passing, Passing::Relayed);
    }

    #[test]
    fn text_is_metered_wherever_it_stands() {
        let delta = |delta: &str| format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#);
        for (data, bytes) in [
            (delta(r#"{"type":"text_delta","text":"four"}"#), 4),
            (delta(r#"{"type":"thinking_delta","thinking":"four"}"#), 4),
            (delta(r#"{"type":"input_json_delta","partial_json":"{}"}"#), 2),
            (delta(r#"{"type":"signature_delta","signature":"four"}"#), 0),
            (delta(r#"{"type":"citations_delta","citation":{"cited_text":"x"}}"#), 0),
            (delta(r#"{"type":"new_delta","new":"four"}"#), 4),
            (r#"{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"four"}}"#.to_owned(), 4),
            (r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#.to_owned(), 0),
            (r#"{"type":"ping"}"#.to_owned(), 0),
        ] {
            assert_eq!(chunk(&data).delta.text_bytes, bytes, "{data}");
        }
    }

    #[test]
    fn only_the_model_is_replaced_and_a_frame_is_one_line() {
        assert_eq!(
            written("{\"type\":\"message_start\",\"message\":{\"model\":\"claude\",\"x\":[1,\n2]},\"new\":1}"),
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"a/m\",\"x\":[1, 2]},\"new\":1}\n\n"
        );
        assert_eq!(written(r#"{"type":"ping"}"#), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
        assert_eq!(written(r#"{"type":"a\nb"}"#), "event: a\\nb\ndata: {\"type\":\"a\\nb\"}\n\n");
    }

    #[test]
    fn the_open_block_is_followed() {
        let open = |data: &str, open| Piece(Fields::parse(data.as_bytes()).unwrap()).open_block(open);
        assert_eq!(open(r#"{"type":"content_block_start","index":3,"content_block":{}}"#, None), Some(3));
        assert_eq!(open(r#"{"type":"content_block_delta","index":3}"#, Some(3)), Some(3));
        assert_eq!(open(r#"{"type":"content_block_stop","index":3}"#, Some(3)), None);
    }

    #[test]
    fn a_complete_stream_ends_with_the_charge_beside_the_providers_usage() {
        assert_eq!(
            ended(Some(LAST), None, &End::Completed(&testing::billed())),
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":5,\"cache_creation_input_tokens\":7},\"arouter\":{\"cost\":0.0000015,\"generation_id\":\"gen-1\",\"provider\":\"p\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
        );
        for kept in [None, Some(START)] {
            let text = ended(kept, None, &End::Completed(&testing::billed()));
            assert!(
                text.starts_with("event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\""),
                "{text}"
            );
            assert!(text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{text}");
        }
    }

    #[test]
    fn a_cut_stream_closes_its_block_and_a_broken_one_ends_with_an_error() {
        let text = ended(Some(START), Some(2), &End::Length(&testing::billed()));
        assert!(
            text.starts_with("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\nevent: message_delta\n"),
            "{text}"
        );
        assert!(text.contains("\"stop_reason\":\"max_tokens\"") && text.contains("\"output_tokens\":3"), "{text}");
        assert!(text.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), "{text}");
        let error = ClientError {
            status: 502,
            message: "m",
            kind: "k",
            code: "c",
            has_status_code: false,
            retry_after_s: None,
            param: None,
            metadata: &serde_json::Value::Null,
        };
        assert_eq!(
            ended(Some(LAST), Some(2), &End::Error(&error)),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"},\"request_id\":\"gen-1\"}\n\n"
        );
    }
}
