//! Events, written as frames.

use super::answer::{AnswerBody, CandidateBody, finish_word};
use super::body::{self, CallBody, ContentBody, PartBody, Piece};
use super::error;
use super::grounding::GroundingBody;
use super::logprobs::LogprobsBody;
use super::signature;
use super::stream::{LENGTH, frame, framed, last};
use crate::answer::{Billed, End, Names};
use crate::call::Format;
use crate::neutral::{Block, Citation, Delta, Event, Finish, Signature, Text, ToolCall};

/// The writer of a stream. Texts are written at once and calls whole; finishes, usage and charge make the last frame.
#[derive(Debug, Default)]
pub struct Writer {
    choices: Vec<Choice>,
}

/// A choice so far.
#[derive(Debug, Default)]
struct Choice {
    open: Open,
    /// The number of texts that have ended.
    texts: usize,
    has_refusal: bool,
    grounding: GroundingBody,
    logprobs: LogprobsBody,
    finish: Finish<'static>,
}

/// The open block.
#[derive(Debug, Default)]
enum Open {
    #[default]
    None,
    /// A text with its citations, whose ranges count it.
    Text {
        text: String,
        citations: Vec<Citation<'static>>,
    },
    Refusal,
    Reasoning,
    Call(Box<ToolCall<'static>>),
}

impl Writer {
    /// Writes an event.
    pub fn write(&mut self, event: &Event<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        match event {
            Event::Start { .. } => {}
            Event::BlockStart { choice, block } => {
                let index = self.index(*choice);
                self.choices[index].start(index, block, names, into);
            }
            Event::Delta { choice, delta } => {
                let index = self.index(*choice);
                self.choices[index].delta(index, delta, names, into);
            }
            Event::BlockEnd { choice } => {
                let index = self.index(*choice);
                self.choices[index].end(index, names, into);
            }
            Event::Finish { choice, finish } => {
                let index = self.index(*choice);
                self.choices[index].finish = owned_finish(finish);
            }
        }
    }

    /// Writes the end: the finish, the usage and the charge, or the error.
    pub fn end(&mut self, end: &End<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        match end {
            End::Completed(billed) => {
                for (index, choice) in self.choices.iter_mut().enumerate() {
                    choice.end(index, names, into);
                }
                self.last(None, billed, names, into);
            }
            // A call whose arguments are cut would be wrong.
            End::Length(billed) => self.last(Some(LENGTH), billed, names, into),
            End::Error(error) => framed(into, |into| into.extend_from_slice(error::frame(error).as_bytes())),
        }
    }

    /// Returns the place of a choice.
    fn index(&mut self, choice: u32) -> usize {
        let index = usize::try_from(choice).unwrap_or(0);
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, Choice::default);
        }
        index
    }

    fn last(&mut self, reason: Option<&'static str>, billed: &Billed, names: &Names<'_>, into: &mut Vec<u8>) {
        if self.choices.is_empty() {
            self.choices.push(Choice::default());
        }
        let candidates = self.choices.iter_mut().enumerate().map(|(index, choice)| choice.last(index, reason)).collect();
        frame(&AnswerBody::new(candidates, names, Some(billed)), into);
    }
}

impl Choice {
    /// Returns the candidate of the last frame; `reason` overrides the finish.
    fn last(&mut self, index: usize, reason: Option<&'static str>) -> CandidateBody<'_> {
        let word = reason.unwrap_or_else(|| finish_word(&self.finish, self.has_refusal));
        CandidateBody {
            grounding_metadata: std::mem::take(&mut self.grounding).into_some(),
            logprobs_result: std::mem::take(&mut self.logprobs).into_some(),
            finish_message: self.finish.message.as_deref(),
            ..last(index, word)
        }
    }

    fn start(&mut self, index: usize, block: &Block<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        self.open = match block {
            Block::Text => Open::Text { text: String::new(), citations: Vec::new() },
            Block::Refusal => {
                self.has_refusal = true;
                Open::Refusal
            }
            Block::Reasoning { .. } => Open::Reasoning,
            Block::ToolCall { id, name, is_custom } => Open::Call(Box::new(ToolCall {
                id: id.clone().into_owned().into(),
                name: name.clone().into_owned().into(),
                arguments: String::new().into(),
                is_custom: *is_custom,
                signature: None,
                cache: None,
            })),
            Block::Opaque { format: Format::Generate, raw } => {
                piece(index, Piece::Raw(raw), names, into);
                Open::None
            }
            // Only another vendor's clients know it.
            Block::Opaque { .. } => Open::None,
        };
    }

    fn delta(&mut self, index: usize, delta: &Delta<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        let written = match (&mut self.open, delta) {
            (_, Delta::Logprobs(tokens)) => {
                self.logprobs.add(tokens);
                None
            }
            (Open::Call(call), Delta::Text(more)) => {
                call.arguments.to_mut().push_str(more);
                None
            }
            (Open::Call(call), Delta::Signature(of)) => {
                call.signature = Some(owned_signature(of));
                None
            }
            (_, Delta::Text(more)) if more.is_empty() => None,
            (Open::Text { text, .. }, Delta::Text(more)) => {
                text.push_str(more);
                Some(Piece::text(more, None))
            }
            (Open::Refusal, Delta::Text(more)) => Some(Piece::text(more, None)),
            (Open::Reasoning, Delta::Text(more)) => Some(Piece::thought(more, None)),
            (Open::Reasoning, Delta::Signature(of)) => Some(Piece::thought("", Some(signature::wrapped(of)))),
            (Open::Reasoning, Delta::Encrypted(of)) => Some(Piece::thought("", Some(signature::encrypted(of)))),
            (Open::Text { .. }, Delta::Signature(of)) => Some(Piece::text("", Some(signature::wrapped(of)))),
            (Open::Text { citations, .. }, Delta::Citation(citation)) => {
                citations.extend(owned_page(citation));
                None
            }
            (Open::None | Open::Refusal, Delta::Signature(_))
            | (Open::None, Delta::Text(_))
            | (Open::None | Open::Text { .. } | Open::Refusal | Open::Call(_), Delta::Encrypted(_))
            | (Open::None | Open::Refusal | Open::Reasoning | Open::Call(_), Delta::Citation(_)) => None,
        };
        if let Some(written) = written {
            piece(index, written, names, into);
        }
    }

    fn end(&mut self, index: usize, names: &Names<'_>, into: &mut Vec<u8>) {
        match std::mem::take(&mut self.open) {
            Open::None | Open::Refusal | Open::Reasoning => {}
            Open::Text { text, citations } => {
                self.grounding.add(self.texts, &text, &citations);
                self.texts += 1;
            }
            Open::Call(call) => {
                let args = body::arguments(&call).unwrap_or_else(|| body::input(&call.arguments));
                let function_call = Some(CallBody { id: Some(&call.id), name: &call.name, args });
                let thought_signature = call.signature.as_ref().map(signature::wrapped);
                piece(index, PartBody { function_call, thought_signature, ..PartBody::default() }.into(), names, into);
            }
        }
    }
}

/// Writes a frame with one part.
fn piece(index: usize, part: Piece<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
    let candidate = CandidateBody {
        content: ContentBody { parts: vec![part], role: Some("model") },
        finish_reason: None,
        finish_message: None,
        index,
        grounding_metadata: None,
        logprobs_result: None,
    };
    frame(&AnswerBody::new(vec![candidate], names, None), into);
}

fn owned(text: &Text<'_>) -> Text<'static> {
    Text::Owned(text.as_ref().to_owned())
}

fn owned_finish(finish: &Finish<'_>) -> Finish<'static> {
    let Finish { reason, native, stop_sequence, message } = finish;
    Finish {
        reason: *reason,
        native: native.as_ref().map(owned),
        stop_sequence: stop_sequence.as_ref().map(owned),
        message: message.as_ref().map(owned),
    }
}

fn owned_signature(signature: &Signature<'_>) -> Signature<'static> {
    Signature { vendor: signature.vendor, data: owned(&signature.data) }
}

/// Returns a page of the web; other references have no place in this format.
fn owned_page(citation: &Citation<'_>) -> Option<Citation<'static>> {
    match citation {
        Citation::Url { url, title, start, end } => {
            Some(Citation::Url { url: owned(url), title: title.as_ref().map(owned), start: *start, end: *end })
        }
        Citation::Opaque { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client_error::ClientError;
    use crate::neutral::{Json, Reason, Vendor};
    use crate::testing;

    fn written(events: &[Event<'_>], end: &End<'_>) -> Vec<Value> {
        let mut writer = Writer::default();
        let mut out = Vec::new();
        for event in events {
            writer.write(event, &testing::NAMES, &mut out);
        }
        writer.end(end, &testing::NAMES, &mut out);
        let text = String::from_utf8(out).unwrap();
        text.split_terminator("\n\n").map(|frame| serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap()).collect()
    }

    fn start(block: Block<'static>) -> Event<'static> {
        Event::BlockStart { choice: 0, block }
    }

    fn delta(delta: Delta<'static>) -> Event<'static> {
        Event::Delta { choice: 0, delta }
    }

    const END: Event<'static> = Event::BlockEnd { choice: 0 };

    fn finish(reason: Reason) -> Event<'static> {
        Event::Finish { choice: 0, finish: Finish { reason, ..Finish::default() } }
    }

    fn part(frame: &Value) -> &Value {
        &frame["candidates"][0]["content"]["parts"][0]
    }

    #[test]
    fn texts_come_at_once_and_the_end_has_everything_else() {
        let events = [start(Block::Text), delta(Delta::Text("Par".into())), delta(Delta::Text("is.".into())), END, finish(Reason::Stop)];
        let frames = written(&events, &End::Completed(&testing::billed()));
        assert_eq!(frames.len(), 3);
        assert_eq!(
            frames[0],
            json!({"candidates": [{"content": {"parts": [{"text": "Par"}], "role": "model"}, "index": 0}], "modelVersion": "a/m", "responseId": "gen-1"})
        );
        assert_eq!(
            frames[2],
            json!({
                "candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP", "index": 0}],
                "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 8, "cachedContentTokenCount": 2, "thoughtsTokenCount": 1},
                "modelVersion": "a/m", "responseId": "gen-1",
                "arouter": {"cost": 0.000_001_5, "generation_id": "gen-1", "provider": "p"},
            })
        );
    }

    #[test]
    fn calls_come_whole_and_thoughts_keep_their_proof() {
        let signature = Signature { vendor: Vendor::Anthropic, data: "c2lnbmVk".into() };
        let call = Block::ToolCall { id: "c".into(), name: "f".into(), is_custom: false };
        let events = [
            start(Block::Reasoning { id: None, is_summary: false }),
            delta(Delta::Text("hm".into())),
            delta(Delta::Signature(signature.clone())),
            END,
            start(call),
            delta(Delta::Text("{\"a\"".into())),
            delta(Delta::Text(":1}".into())),
            END,
            finish(Reason::ToolCalls),
        ];
        let frames = written(&events, &End::Completed(&testing::billed()));
        assert_eq!(part(&frames[0]), &json!({"text": "hm", "thought": true}));
        assert_eq!(part(&frames[1]), &json!({"text": "", "thought": true, "thoughtSignature": signature::wrapped(&signature)}));
        assert_eq!(part(&frames[2]), &json!({"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}}));
        assert_eq!(frames[3]["candidates"][0]["finishReason"], "STOP");
    }

    #[test]
    fn a_cut_stream_ends_by_length_without_half_a_call() {
        let call = Block::ToolCall { id: "c".into(), name: "f".into(), is_custom: false };
        let events = [start(call), delta(Delta::Text("{\"a\"".into()))];
        let frames = written(&events, &End::Length(&testing::billed()));
        assert_eq!((frames.len(), &frames[0]["candidates"][0]["finishReason"]), (1, &json!("MAX_TOKENS")));
        let events = [start(Block::Text), delta(Delta::Text("a".into())), finish(Reason::Stop)];
        let frames = written(&events, &End::Length(&testing::billed()));
        assert_eq!(frames[1]["candidates"][0]["finishReason"], "MAX_TOKENS");
    }

    #[test]
    fn an_error_has_no_finish() {
        let error = ClientError {
            status: 504,
            message: "m",
            kind: "k",
            code: "c",
            has_status_code: false,
            retry_after_s: None,
            param: None,
            metadata: &Value::Null,
        };
        let frames = written(&[start(Block::Text), delta(Delta::Text("a".into()))], &End::Error(&error));
        assert_eq!(frames[1], json!({"error": {"code": 504, "message": "m", "status": "DEADLINE_EXCEEDED"}}));
        assert_eq!(frames.len(), 2);
    }

    #[test]
    fn refusals_citations_and_choices() {
        let page = Citation::Url { url: "https://x".into(), title: None, start: Some(0), end: Some(1) };
        let events = [
            start(Block::Text),
            delta(Delta::Text("é.".into())),
            delta(Delta::Citation(page)),
            delta(Delta::Logprobs(Json::of(&json!([{"token": "é", "logprob": -0.5}])))),
            END,
            start(Block::Opaque { format: Format::Messages, raw: Json::of(&1) }),
            END,
            Event::BlockStart { choice: 1, block: Block::Refusal },
            Event::Delta { choice: 1, delta: Delta::Text("no".into()) },
            Event::BlockEnd { choice: 1 },
            finish(Reason::Stop),
            Event::Finish { choice: 1, finish: Finish { message: Some("why".into()), ..Finish::default() } },
        ];
        let frames = written(&events, &End::Completed(&testing::billed()));
        assert_eq!(frames[1]["candidates"][0]["index"], 1);
        let last = &frames[2]["candidates"];
        assert_eq!(last[0]["groundingMetadata"]["groundingSupports"][0]["segment"]["endIndex"], 2);
        assert_eq!(last[0]["logprobsResult"]["chosenCandidates"][0]["token"], "é");
        assert_eq!((&last[1]["finishReason"], &last[1]["finishMessage"]), (&json!("SAFETY"), &json!("why")));
        let nothing = written(&[], &End::Completed(&testing::billed()));
        assert_eq!(nothing[0]["candidates"][0]["finishReason"], "STOP");
    }
}
