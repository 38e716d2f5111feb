//! Streams of `streamGenerateContent`: the parts of a frame that the gateway reads, and the end of a stream to a client of the same format.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::answer::{self, AnswerBody, CandidateBody, Skim, own_members, skim};
use super::body::{ContentBody, Piece as Part};
use super::error;
use super::spelling::{canonical, list_of, present, spelled};
use super::usage::UsageBody;
use crate::answer::{AnswerError, Billed, Chunk, End, Frame, Names, Passing, Piece as AnyPiece};
use crate::fields::{Edit, Fields};
use crate::neutral::Json;

pub use super::reader::Reader;
pub use super::writer::Writer;

/// Google's word for an answer that its bound has cut.
pub(super) const LENGTH: &str = "MAX_TOKENS";

/// A frame over the bytes that it arrived as.
#[derive(Debug)]
pub struct Piece<'a>(Fields<'a>);

/// Reads the data of an SSE frame.
///
/// # Errors
/// Fails if the frame reports an error, or is not a frame of the format.
pub fn read_frame(data: &[u8]) -> Result<Frame<'_>, AnswerError> {
    if data.trim_ascii() == b"[DONE]" {
        return Ok(Frame::Done);
    }
    let own = own_members(data)?;
    let skim = skim(&present(canonical(own.clone())))?;
    let passing = if is_held(&skim) { Passing::Held } else { Passing::Relayed };
    let Skim { delta, usage, service_tier, .. } = skim;
    Ok(Frame::Chunk(Chunk { usage, service_tier, delta, passing, is_last: false, piece: AnyPiece::Generate(Piece(own)) }))
}

/// Returns whether a frame is kept for the end: it has a finish, or nothing but the usage.
fn is_held(skim: &Skim) -> bool {
    skim.delta.finish_reason.is_some() || (!skim.has_candidates && skim.usage.is_some())
}

impl Piece<'_> {
    /// Writes the frame for the client with the gateway's model name; everything else is unchanged.
    pub fn write(&self, names: &Names<'_>, into: &mut Vec<u8>) {
        let name = spelled(&self.0, "modelVersion");
        let edit = (name, Edit::Put(names.model_json));
        let edits = if self.0.get(name).is_some() { &[edit][..] } else { &[] };
        framed(into, |into| self.0.write(edits, into));
    }
}

/// Writes the data of a frame.
pub(super) fn framed(into: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    into.extend_from_slice(b"data: ");
    write(into);
    into.extend_from_slice(b"\n\n");
}

/// Writes a frame of the gateway's own.
pub(super) fn frame(body: &AnswerBody<'_>, into: &mut Vec<u8>) {
    framed(into, |into| into.extend_from_slice(Json::of(body).get().as_bytes()));
}

/// Writes the end of a stream. The kept frame gets the charge; one that was passed on already gives its usage only.
pub fn end(kept: Option<&Bytes>, end: &End<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
    let kept = kept.and_then(|frame| {
        let own = own_members(frame).ok()?;
        let is_held = is_held(&skim(&present(canonical(own.clone()))).ok()?);
        Some((own, is_held))
    });
    match end {
        End::Completed(billed) => completed(kept, billed, names, into),
        End::Length(billed) => cut(kept, billed, names, into),
        End::Error(error) => framed(into, |into| into.extend_from_slice(error::frame(error).as_bytes())),
    }
}

fn completed(kept: Option<(Fields<'_>, bool)>, billed: &Billed, names: &Names<'_>, into: &mut Vec<u8>) {
    match kept {
        Some((own, true)) => framed(into, |into| answer::charged(&own, &[], names, billed, into)),
        Some((own, false)) => framed(into, |into| answer::charged(&own, &[("candidates", Edit::Drop)], names, billed, into)),
        None => frame(&AnswerBody::new(Vec::new(), names, Some(billed)), into),
    }
}

/// Ends an answer that the gateway has cut. A frame that is still kept is the last one.
fn cut(kept: Option<(Fields<'_>, bool)>, billed: &Billed, names: &Names<'_>, into: &mut Vec<u8>) {
    let kept = kept.filter(|(_, is_held)| *is_held);
    let Some((own, candidates)) = kept.and_then(|(own, _)| cut_candidates(&own).map(|cut| (own, cut))) else {
        let candidate = last(0, LENGTH);
        return frame(&AnswerBody::new(vec![candidate], names, Some(billed)), into);
    };
    let usage = Json::of(&UsageBody::new(&billed.tokens));
    let edits = [("candidates", Edit::Put(&candidates)), ("usageMetadata", Edit::Put(usage.get()))];
    framed(into, |into| answer::charged(&own, &edits, names, billed, into));
}

/// Returns the candidates with another finish; `None` if there are none.
fn cut_candidates(own: &Fields<'_>) -> Option<String> {
    let reason = format!("\"{LENGTH}\"");
    let cut = |raw: &RawValue| {
        let candidate: Fields<'_> = serde_json::from_str(raw.get()).ok()?;
        let mut text = Vec::new();
        candidate.write(&[(spelled(&candidate, "finishReason"), Edit::Put(&reason))], &mut text);
        String::from_utf8(text).ok()
    };
    let all: Vec<String> = list_of(own, "candidates").into_iter().filter_map(cut).collect();
    (!all.is_empty()).then(|| format!("[{}]", all.join(",")))
}

/// Returns a candidate that only ends. An SDK wants a part in every frame.
pub(super) fn last<'a>(index: usize, finish_reason: &'static str) -> CandidateBody<'a> {
    CandidateBody {
        content: ContentBody { parts: vec![Part::text("", None)], role: Some("model") },
        finish_reason: Some(finish_reason),
        finish_message: None,
        index,
        grounding_metadata: None,
        logprobs_result: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::answer::Delta;
    use crate::client_error::ClientError;
    use crate::testing;

    fn chunk(data: &[u8]) -> Chunk<'_> {
        match read_frame(data) {
            Ok(Frame::Chunk(chunk)) => chunk,
            other => panic!("{other:?}"),
        }
    }

    const TEXT: &[u8] = br#"{"candidates":[{"content":{"parts":[{"text":"Par"}]}}],"usageMetadata":{"promptTokenCount":5},"modelVersion":"m-9","responseId":"r"}"#;
    const LAST: &[u8] = br#"{"candidates":[{"content":{"parts":[{"text":"is."}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":5},"modelVersion":"m-9"}"#;

    fn ended(kept: Option<&'static [u8]>, with: &End<'_>) -> String {
        let mut out = Vec::new();
        end(kept.map(Bytes::from_static).as_ref(), with, &testing::NAMES, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn value(frame: &str) -> Value {
        serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap()
    }

    #[test]
    fn frames_are_told_apart() {
        assert!(matches!(read_frame(b"[DONE]"), Ok(Frame::Done)));
        let text = chunk(TEXT);
        assert_eq!(
            (text.passing, text.delta, text.usage.unwrap().tokens.input),
            (Passing::Relayed, Delta { text_bytes: 3, finish_reason: None }, 5)
        );
        assert_eq!(chunk(LAST).passing, Passing::Held);
        assert_eq!(chunk(br#"{"promptFeedback":{"blockReason":"SAFETY"}}"#).passing, Passing::Held);
        assert_eq!(chunk(br#"{"usageMetadata":{"promptTokenCount":5}}"#).passing, Passing::Held, "it comes after the finish");
        assert_eq!(chunk(br#"{"candidates":[{"finishReason":"FINISH_REASON_UNSPECIFIED"}]}"#).passing, Passing::Relayed);
        assert!(matches!(read_frame(br#"{"error":{"code":503,"message":"m"}}"#), Err(AnswerError::Reported(_))));
        assert!(matches!(read_frame(b"<html>"), Err(AnswerError::Malformed)));
    }

    #[test]
    fn a_relayed_frame_changes_its_model_only() {
        let mut out = Vec::new();
        chunk(TEXT).write(&testing::NAMES, &mut out);
        let expected = String::from_utf8(TEXT.to_vec()).unwrap().replace("m-9", "a/m");
        assert_eq!(String::from_utf8(out).unwrap(), format!("data: {expected}\n\n"));
        let mut out = Vec::new();
        chunk(br#"{"candidates":[]}"#).write(&testing::NAMES, &mut out);
        assert_eq!(out, b"data: {\"candidates\":[]}\n\n");
    }

    #[test]
    fn the_kept_frame_gets_the_charge() {
        let billed = testing::billed();
        let last = ended(Some(LAST), &End::Completed(&billed));
        assert!(
            last.ends_with("\"usageMetadata\":{\"promptTokenCount\":5},\"modelVersion\":\"a/m\",\"arouter\":{\"cost\":0.0000015,\"generation_id\":\"gen-1\",\"provider\":\"p\"}}\n\n"),
            "{last}"
        );
        assert!(last.contains("is."));
        let relayed = ended(Some(TEXT), &End::Completed(&billed));
        assert!(!relayed.contains("Par") && relayed.contains("arouter"), "its text is not sent again: {relayed}");
        let bare = value(&ended(None, &End::Completed(&billed)));
        assert_eq!(bare["usageMetadata"]["promptTokenCount"], 5);
    }

    #[test]
    fn a_cut_answer_ends_by_length() {
        let billed = testing::billed();
        for kept in [None, Some(TEXT), Some(LAST)] {
            let frame = value(&ended(kept, &End::Length(&billed)));
            let candidate = &frame["candidates"][0];
            assert_eq!((candidate["finishReason"].as_str(), frame["usageMetadata"]["totalTokenCount"].as_u64()), (Some(LENGTH), Some(8)));
            let text = if kept == Some(LAST) { "is." } else { "" };
            assert_eq!(candidate["content"]["parts"][0]["text"], text);
            assert!(frame["arouter"]["cost"].is_number());
        }
    }

    #[test]
    fn an_error_is_the_only_member_of_its_frame() {
        let error = ClientError {
            status: 502,
            message: "m",
            kind: "k",
            code: "c",
            has_status_code: false,
            retry_after_s: None,
            param: None,
            metadata: &Value::Null,
        };
        let frame = ended(Some(LAST), &End::Error(&error));
        assert_eq!(frame, "data: {\"error\":{\"code\":502,\"message\":\"m\",\"status\":\"INTERNAL\"}}\n\n");
    }
}
