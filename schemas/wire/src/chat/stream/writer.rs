//! The writer of events as a stream for a client.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::answer::{End, Names};
use crate::call::Format;
use crate::chat::neutral::{
    AnnotationBody, CallBody, DetailBody, DetailPiece, EMPTY_TEXT, ExtraBody, Place, characters, finish_word, is_detail,
};
use crate::chat::response;
use crate::neutral::{Block, Citation, Delta, Event, Finish, Json, Reason, Signature, Text};

/// The writer of one stream. Finishes are kept for the end.
#[derive(Debug, Default)]
pub struct Writer {
    choices: BTreeMap<u32, Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    open: Option<Open>,
    place: Place,
    /// The number of calls that began.
    calls: usize,
    /// The characters of text before the open block, and those written altogether.
    text: (u64, u64),
    has_refusal: bool,
    finish: Finish<'static>,
}

/// The open block.
#[derive(Debug)]
enum Open {
    Text { is_empty: bool },
    Refusal,
    Reasoning { id: Option<String>, is_summary: bool, is_written: bool },
    Call { id: String, is_custom: bool, is_empty: bool },
    Opaque,
}

#[derive(Debug, Default, Serialize)]
struct ChoiceBody<'a> {
    index: u32,
    delta: DeltaBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<LogprobsBody<'a>>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native_finish_reason: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct LogprobsBody<'a> {
    content: &'a Json<'a>,
    refusal: Option<()>,
}

#[derive(Debug, Default, Serialize)]
struct DeltaBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<DetailPiece<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<AnnotationBody<'a>>,
}

impl<'a> DeltaBody<'a> {
    fn detail(detail: DetailBody<'a>) -> Self {
        Self { reasoning_details: vec![DetailPiece::Known(detail)], ..Self::default() }
    }

    fn call(call: CallBody<'a>) -> Self {
        Self { tool_calls: vec![call], ..Self::default() }
    }
}

impl Writer {
    /// Writes an event.
    pub fn write(&mut self, event: &Event<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        let mut put = |index: u32, delta: DeltaBody<'_>| choice_chunk(&ChoiceBody { index, delta, ..ChoiceBody::default() }, names, into);
        match event {
            Event::Start { .. } => {}
            Event::BlockStart { choice: index, block } => {
                let choice = self.choice(*index, &mut put);
                if let Some(delta) = choice.begin(block) {
                    put(*index, delta);
                }
            }
            Event::Delta { choice: index, delta: Delta::Logprobs(content) } => {
                self.choice(*index, &mut put);
                let logprobs = Some(LogprobsBody { content, refusal: None });
                choice_chunk(&ChoiceBody { index: *index, logprobs, ..ChoiceBody::default() }, names, into);
            }
            Event::Delta { choice: index, delta } => {
                if let Some(delta) = self.choice(*index, &mut put).add(delta) {
                    put(*index, delta);
                }
            }
            Event::BlockEnd { choice: index } => {
                if let Some(delta) = self.choice(*index, &mut put).close() {
                    put(*index, delta);
                }
            }
            Event::Finish { choice: index, finish } => {
                let own = |text: &Option<Text<'_>>| text.as_ref().map(|text| Text::Owned(text.to_string()));
                self.choice(*index, &mut put).finish = Finish {
                    reason: finish.reason,
                    native: own(&finish.native),
                    stop_sequence: own(&finish.stop_sequence),
                    message: own(&finish.message),
                };
            }
        }
    }

    /// Writes the end: the finishes, the usage and the end mark, or the error.
    pub fn end(&mut self, end: &End<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        match end {
            End::Completed(_) => {
                let mut put =
                    |index: u32, delta: DeltaBody<'_>| choice_chunk(&ChoiceBody { index, delta, ..ChoiceBody::default() }, names, into);
                if self.choices.is_empty() {
                    self.choice(0, &mut put);
                }
                for (index, choice) in &self.choices {
                    choice_chunk(&choice.last(*index), names, into);
                }
            }
            End::Length(_) => {
                // The end itself finishes the first choice.
                for index in self.choices.keys().filter(|index| **index > 0) {
                    let finish_reason = Some(finish_word(Reason::Length));
                    choice_chunk(&ChoiceBody { index: *index, finish_reason, ..ChoiceBody::default() }, names, into);
                }
            }
            End::Error(_) => {}
        }
        response::end(None, end, names, into);
    }

    /// Returns a choice; the first piece of each has its role.
    fn choice(&mut self, index: u32, put: &mut impl FnMut(u32, DeltaBody<'_>)) -> &mut Choice {
        self.choices.entry(index).or_insert_with(|| {
            put(index, DeltaBody { role: Some("assistant"), content: Some(""), ..DeltaBody::default() });
            Choice::default()
        })
    }
}

fn choice_chunk(choice: &ChoiceBody<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
    let choice = serde_json::to_string(choice).unwrap_or_default();
    response::chunk(&format!("\"choices\":[{choice}]"), names, into);
}

impl Choice {
    /// Begins a block.
    fn begin<'a>(&mut self, block: &'a Block<'_>) -> Option<DeltaBody<'a>> {
        match block {
            Block::Text => {
                self.text.0 = self.text.1;
                self.open = Some(Open::Text { is_empty: true });
                None
            }
            Block::Refusal => {
                self.open = Some(Open::Refusal);
                None
            }
            Block::Reasoning { id, is_summary } => {
                let id = id.as_ref().map(ToString::to_string);
                self.open = Some(Open::Reasoning { id, is_summary: *is_summary, is_written: false });
                None
            }
            Block::ToolCall { id, name, is_custom } => {
                self.open = Some(Open::Call { id: id.to_string(), is_custom: *is_custom, is_empty: true });
                let call = CallBody::piece(Some(self.calls), Some(name), "", *is_custom);
                self.calls += 1;
                Some(DeltaBody::call(CallBody { id: Some(Text::Borrowed(id)), ..call }))
            }
            Block::Opaque { format, raw } => {
                self.open = Some(Open::Opaque);
                // Blocks that only another vendor knows are left out, since an answer cannot be refused.
                let is_own = *format == Format::Chat && is_detail(raw);
                is_own.then(|| {
                    self.place.add();
                    DeltaBody { reasoning_details: vec![DetailPiece::Raw(raw)], ..DeltaBody::default() }
                })
            }
        }
    }

    /// Adds to the open block.
    fn add<'a>(&'a mut self, delta: &'a Delta<'_>) -> Option<DeltaBody<'a>> {
        match delta {
            Delta::Text(text) => self.add_text(text),
            Delta::Signature(signature) => self.sign(signature),
            Delta::Encrypted(data) => {
                let index = self.place.next();
                let Some(Open::Reasoning { id, is_written, .. }) = &mut self.open else { return None };
                *is_written = true;
                Some(DeltaBody::detail(DetailBody::encrypted(data, id.as_deref().map(Text::Borrowed), index)))
            }
            Delta::Citation(citation) => self.cite(citation),
            Delta::Logprobs(_) => None,
        }
    }

    fn add_text<'a>(&'a mut self, text: &'a str) -> Option<DeltaBody<'a>> {
        let index = self.place.next();
        match self.open.as_mut().filter(|_| !text.is_empty())? {
            Open::Text { is_empty } => {
                *is_empty = false;
                self.text.1 = self.text.1.saturating_add(characters(text));
                Some(DeltaBody { content: Some(text), ..DeltaBody::default() })
            }
            Open::Refusal => {
                self.has_refusal = true;
                Some(DeltaBody { refusal: Some(text), ..DeltaBody::default() })
            }
            Open::Reasoning { id, is_summary, is_written } => {
                *is_written = true;
                let id = id.as_deref().map(Text::Borrowed);
                let detail = DetailBody { id, ..DetailBody::text(text, *is_summary, index) };
                Some(DeltaBody { reasoning: Some(text), reasoning_content: Some(text), ..DeltaBody::detail(detail) })
            }
            Open::Call { is_custom, is_empty, .. } => {
                *is_empty = false;
                Some(DeltaBody::call(CallBody::piece(self.calls.checked_sub(1), None, text, *is_custom)))
            }
            Open::Opaque => None,
        }
    }

    /// Writes a signature: as a detail, and that of a call also in Google's own place.
    fn sign<'a>(&'a mut self, signature: &'a Signature<'_>) -> Option<DeltaBody<'a>> {
        let index = self.place.next();
        match self.open.as_mut()? {
            Open::Text { is_empty } => {
                let id = is_empty.then_some(Text::Borrowed(EMPTY_TEXT));
                Some(DeltaBody::detail(DetailBody::encrypted(signature, id, index)))
            }
            Open::Reasoning { id, is_summary, is_written } => {
                *is_written = true;
                let text = DetailBody::text("", *is_summary, index);
                let detail = DetailBody { text: None, summary: None, id: id.as_deref().map(Text::Borrowed), ..text };
                Some(DeltaBody::detail(detail.signed(signature)))
            }
            Open::Call { id, is_custom, .. } => {
                let detail = DeltaBody::detail(DetailBody::encrypted(signature, Some(Text::Borrowed(id)), index));
                let extra_content = ExtraBody::of(signature);
                let call = CallBody { extra_content, ..CallBody::piece(self.calls.checked_sub(1), None, "", *is_custom) };
                Some(DeltaBody { tool_calls: vec![call], ..detail })
            }
            Open::Refusal | Open::Opaque => None,
        }
    }

    fn cite<'a>(&self, citation: &'a Citation<'a>) -> Option<DeltaBody<'a>> {
        matches!(self.open, Some(Open::Text { .. })).then_some(())?;
        let annotation = AnnotationBody::of(citation, self.text)?;
        Some(DeltaBody { annotations: vec![annotation], ..DeltaBody::default() })
    }

    /// Ends the open block. A call without arguments gets an empty object, since clients parse them.
    fn close(&mut self) -> Option<DeltaBody<'static>> {
        match self.open.take()? {
            Open::Text { is_empty } => {
                if !is_empty {
                    self.place.add_text();
                }
                None
            }
            Open::Refusal => {
                self.place.add_refusal();
                None
            }
            Open::Reasoning { is_written, .. } => {
                if is_written {
                    self.place.add();
                }
                None
            }
            Open::Call { is_custom, is_empty, .. } => {
                self.place.add();
                (is_empty && !is_custom).then(|| DeltaBody::call(CallBody::piece(self.calls.checked_sub(1), None, "{}", false)))
            }
            Open::Opaque => None,
        }
    }

    /// Returns the last piece of the choice.
    fn last(&self, index: u32) -> ChoiceBody<'_> {
        let is_refused = self.finish.reason == Reason::Filtered && !self.has_refusal;
        let refusal = self.finish.message.as_deref().filter(|_| is_refused);
        ChoiceBody {
            index,
            delta: DeltaBody { refusal, ..DeltaBody::default() },
            logprobs: None,
            finish_reason: Some(finish_word(self.finish.reason)),
            native_finish_reason: self.finish.native.as_deref(),
        }
    }
}
