//! Frames, read into events.

use serde_json::value::RawValue;

use super::answer::{blocked, candidates, members};
use super::calls::Calls;
use super::part::{self, Place};
use super::spelling::{count_of, list_of, member, object, text_of};
use super::{finish, grounding, logprobs};
use crate::answer::AnswerError;
use crate::call::Format;
use crate::fields::Fields;
use crate::neutral::{Block, Citation, Delta, Event, Finish, Json, Part, Reason, Reasoning, Signature, Text};

/// The maximum number of candidates; a higher index counts as the first.
const CANDIDATES_MAX: u64 = 128;

/// The reader of a stream. A finish is passed on at the end, since some models repeat it in every frame.
#[derive(Debug, Default)]
pub struct Reader {
    has_begun: bool,
    candidates: Vec<Candidate>,
}

/// A candidate so far.
#[derive(Debug, Default)]
struct Candidate {
    open: Option<Open>,
    /// All text, whose bytes citations count.
    text: String,
    /// The number of characters before the open block.
    before: u64,
    calls: Calls,
    has_calls: bool,
    finish: Option<Finish<'static>>,
}

/// The kind of the open block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Reasoning,
}

impl Reader {
    /// Reads the data of one frame, and appends its events.
    ///
    /// # Errors
    /// Fails if the frame reports an error, or is not a frame of the format.
    pub fn read<'a>(&mut self, data: &'a [u8], events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let fields = members(data)?;
        let id = text_of(&fields, "responseId");
        let tail = id.clone();
        if !self.has_begun {
            self.has_begun = true;
            events.push(Event::Start { id, model: text_of(&fields, "modelVersion"), created_s: None });
        }
        let candidates = candidates(&fields);
        if candidates.is_empty()
            && let Some(finish) = blocked(&fields)
        {
            self.candidate(0, tail.as_deref()).finish = Some(owned(finish));
        }
        for raw in candidates {
            let candidate = object(raw).ok_or(AnswerError::Malformed)?;
            let index = count_of(&candidate, "index").filter(|index| *index < CANDIDATES_MAX).unwrap_or(0);
            let index = u32::try_from(index).unwrap_or(0);
            self.candidate(index, tail.as_deref()).read(index, &candidate, events);
        }
        Ok(())
    }

    /// Appends the events that end what is still open.
    pub fn finish(&mut self, events: &mut Vec<Event<'_>>) {
        for (choice, candidate) in (0..).zip(&mut self.candidates) {
            candidate.close(choice, events);
            if let Some(mut finish) = candidate.finish.take() {
                if finish.reason == Reason::Stop && candidate.has_calls {
                    finish.reason = Reason::ToolCalls;
                }
                events.push(Event::Finish { choice, finish });
            }
        }
    }

    fn candidate(&mut self, index: u32, id: Option<&str>) -> &mut Candidate {
        let at = usize::try_from(index).unwrap_or(0);
        while self.candidates.len() <= at {
            let mut candidate = Candidate::default();
            candidate.calls.answer(id);
            self.candidates.push(candidate);
        }
        &mut self.candidates[at]
    }
}

fn owned(finish: Finish<'_>) -> Finish<'static> {
    let own = |text: Option<Text<'_>>| text.map(|text| Text::Owned(text.into_owned()));
    let Finish { reason, native, stop_sequence, message } = finish;
    Finish { reason, native: own(native), stop_sequence: own(stop_sequence), message: own(message) }
}

impl Candidate {
    fn read<'a>(&mut self, choice: u32, candidate: &Fields<'a>, events: &mut Vec<Event<'a>>) {
        let content = member(candidate, "content");
        for raw in content.as_ref().map(|content| list_of(content, "parts")).unwrap_or_default() {
            self.part(choice, raw, events);
        }
        self.citations(choice, candidate, events);
        if let Some(tokens) = candidate.get("logprobsResult").map(Json::from).and_then(|result| logprobs::read(&result)) {
            events.push(Event::Delta { choice, delta: Delta::Logprobs(tokens) });
        }
        if let Some(native) = text_of(candidate, "finishReason").filter(|native| finish::is_finish(native)) {
            self.finish = Some(owned(finish::read(native, text_of(candidate, "finishMessage"), false)));
        }
    }

    fn part<'a>(&mut self, choice: u32, raw: &'a RawValue, events: &mut Vec<Event<'a>>) {
        match part::read(raw, Place::Answer, &mut self.calls) {
            Part::Text { text, signature, .. } => self.text(choice, text, signature, events),
            Part::Reasoning(reasoning) => self.reasoning(choice, reasoning, events),
            Part::ToolCall(call) => {
                self.has_calls = true;
                let block = Block::ToolCall { id: call.id, name: call.name, is_custom: false };
                let arguments = Some(call.arguments).filter(|arguments| !arguments.is_empty()).map(Delta::Text);
                self.whole(choice, block, call.signature.map(Delta::Signature).into_iter().chain(arguments), events);
            }
            Part::Media(_) | Part::Opaque { .. } | Part::Refusal(_) | Part::ToolResult(_) => {
                self.whole(choice, Block::Opaque { format: Format::Generate, raw: Json::from(raw) }, [], events);
            }
        }
    }

    /// Reads a text. A signed one stays apart, because its signature is of it alone.
    fn text<'a>(&mut self, choice: u32, text: Text<'a>, signature: Option<Signature<'a>>, events: &mut Vec<Event<'a>>) {
        if text.is_empty() && signature.is_none() {
            return;
        }
        if signature.is_some() || self.open != Some(Open::Text) {
            self.close(choice, events);
            self.before = u64::try_from(self.text.chars().count()).unwrap_or(u64::MAX);
            self.start(choice, Open::Text, events);
        }
        self.text.push_str(&text);
        self.deltas(choice, (!text.is_empty()).then_some(Delta::Text(text)), signature.map(Delta::Signature), events);
    }

    fn reasoning<'a>(&mut self, choice: u32, reasoning: Reasoning<'a>, events: &mut Vec<Event<'a>>) {
        let Reasoning { text, signature, encrypted, .. } = reasoning;
        let proof = signature.map(Delta::Signature).or(encrypted.map(Delta::Encrypted));
        if proof.is_some() || self.open != Some(Open::Reasoning) {
            self.close(choice, events);
            self.start(choice, Open::Reasoning, events);
        }
        self.deltas(choice, (!text.is_empty()).then_some(Delta::Text(text)), proof, events);
    }

    /// Appends a text, and the proof that ends its block.
    fn deltas<'a>(&mut self, choice: u32, text: Option<Delta<'a>>, proof: Option<Delta<'a>>, events: &mut Vec<Event<'a>>) {
        let is_signed = proof.is_some();
        events.extend(text.into_iter().chain(proof).map(|delta| Event::Delta { choice, delta }));
        if is_signed {
            self.close(choice, events);
        }
    }

    fn whole<'a>(&mut self, choice: u32, block: Block<'a>, deltas: impl IntoIterator<Item = Delta<'a>>, events: &mut Vec<Event<'a>>) {
        self.close(choice, events);
        events.push(Event::BlockStart { choice, block });
        events.extend(deltas.into_iter().map(|delta| Event::Delta { choice, delta }));
        events.push(Event::BlockEnd { choice });
    }

    fn start(&mut self, choice: u32, open: Open, events: &mut Vec<Event<'_>>) {
        self.open = Some(open);
        let block = match open {
            Open::Text => Block::Text,
            Open::Reasoning => Block::Reasoning { id: None, is_summary: false },
        };
        events.push(Event::BlockStart { choice, block });
    }

    fn close(&mut self, choice: u32, events: &mut Vec<Event<'_>>) {
        if self.open.take().is_some() {
            events.push(Event::BlockEnd { choice });
        }
    }

    /// Reads citations, which count the bytes of the whole text, and come with its last piece.
    fn citations<'a>(&mut self, choice: u32, candidate: &Fields<'a>, events: &mut Vec<Event<'a>>) {
        if self.open != Some(Open::Text) {
            return;
        }
        let before = self.before;
        let shifted = |position: Option<u64>| position.map(|position| position.saturating_sub(before));
        for (_, citation) in grounding::read(candidate, |_| Some(self.text.as_str())) {
            let citation = match citation {
                Citation::Url { url, title, start, end } => Citation::Url { url, title, start: shifted(start), end: shifted(end) },
                Citation::Opaque { format, raw } => Citation::Opaque { format, raw },
            };
            events.push(Event::Delta { choice, delta: Delta::Citation(citation) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neutral::{Answer, Assembler, Vendor};

    fn events<'a>(frames: &[&'a str]) -> Vec<Event<'a>> {
        let mut reader = Reader::default();
        let mut events = Vec::new();
        for frame in frames {
            reader.read(frame.as_bytes(), &mut events).unwrap();
        }
        reader.finish(&mut events);
        events
    }

    fn answer(frames: &[&str]) -> Answer<'static> {
        let mut assembler = Assembler::default();
        for event in events(frames) {
            assembler.add(event);
        }
        assembler.finish()
    }

    #[test]
    fn a_finish_in_every_frame_is_one_finish() {
        let frame = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#;
        let finishes = events(&[frame, frame]).into_iter().filter(|event| matches!(event, Event::Finish { .. })).count();
        assert_eq!(finishes, 1);
        assert_eq!(answer(&[frame, frame]).choices[0].parts, [Part::text("aa")]);
    }

    #[test]
    fn signed_parts_stay_apart() {
        let answer = answer(&[
            r#"{"candidates":[{"content":{"parts":[{"text":"h","thought":true},{"text":"m","thought":true}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"text":"b","thoughtSignature":"Qg=="}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"","thoughtSignature":"Qw=="}]},"finishReason":"STOP"}]}"#,
        ]);
        let signed = |text: &str, data: Option<&'static str>| Part::Text {
            text: text.to_owned().into(),
            citations: Vec::new(),
            cache: None,
            signature: data.map(|data| Signature { vendor: Vendor::Google, data: data.into() }),
        };
        let thought = Part::Reasoning(Reasoning { text: "hm".into(), ..Reasoning::default() });
        assert_eq!(answer.choices[0].parts, [thought, signed("a", None), signed("b", Some("Qg==")), signed("", Some("Qw=="))]);
    }

    #[test]
    fn calls_come_whole_and_make_the_finish() {
        let answer = answer(&[
            r#"{"responseId":"r-12345678","candidates":[{"content":{"parts":[{"functionCall":{"name":"f"},"thoughtSignature":"Qg=="},{"functionCall":{"name":"f","args":{"a": 1}}}]}}]}"#,
            r#"{"responseId":"r-12345678","candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{}}"#,
        ]);
        let [Part::ToolCall(first), Part::ToolCall(second)] = answer.choices[0].parts.as_slice() else { panic!("{answer:?}") };
        let calls = [first, second].map(|call| (call.id.as_ref(), call.arguments.as_ref(), call.signature.is_some()));
        assert_eq!(calls, [("call_0_f_12345678", "", true), ("call_1_f_12345678", r#"{"a": 1}"#, false)]);
        assert_eq!(answer.choices[0].finish.reason, Reason::ToolCalls);
    }

    #[test]
    fn candidates_are_choices() {
        let answer = answer(&[
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"index":0},{"content":{"parts":[{"text":"b"}]},"index":1}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"c"}]},"index":1,"finishReason":"MAX_TOKENS"},{"index":4000000000}]}"#,
        ]);
        assert_eq!(answer.choices.len(), 2);
        assert_eq!((&answer.choices[1].parts[..], answer.choices[1].finish.reason), (&[Part::text("bc")][..], Reason::Length));
    }

    #[test]
    fn citations_count_characters_of_their_block() {
        let metadata = r#""groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://x"}}],"groundingSupports":[{"segment":{"startIndex":2,"endIndex":4},"groundingChunkIndices":[0]}]}"#;
        let last = format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"ö"}}]}},{metadata},"finishReason":"STOP"}}]}}"#);
        let answer = answer(&[r#"{"candidates":[{"content":{"parts":[{"text":"é"}]}}]}"#, &last]);
        let [Part::Text { citations, .. }] = answer.choices[0].parts.as_slice() else { panic!("{answer:?}") };
        assert_eq!(*citations, [Citation::Url { url: "https://x".into(), title: None, start: Some(1), end: Some(2) }]);
    }

    #[test]
    fn unknown_content_and_blocked_prompts_do_not_break_the_reader() {
        let answer = answer(&[
            r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"1"}},{"whatComesNext":7},7]}}],"new":1}"#,
            r#"{"candidates":[{"content":null}]}"#,
            "{}",
            "[DONE]",
        ]);
        assert_eq!(answer.choices[0].parts.len(), 3);
        let blocked = self::answer(&[r#"{"promptFeedback":{"blockReason":"SAFETY"},"modelVersion":"m"}"#]);
        assert_eq!((blocked.choices[0].finish.reason, blocked.model.as_deref()), (Reason::Filtered, Some("m")));
        assert!(Reader::default().read(br#"{"error":{"code":500}}"#, &mut Vec::new()).is_err());
        assert!(Reader::default().read(b"7", &mut Vec::new()).is_err());
    }

    #[test]
    fn text_is_borrowed() {
        let frame = r#"{"candidates":[{"content":{"parts":[{"text":"plain"}]}}]}"#;
        let is_borrowed = |event: &Event<'_>| matches!(event, Event::Delta { delta: Delta::Text(Text::Borrowed("plain")), .. });
        assert!(events(&[frame]).iter().any(is_borrowed));
    }
}
