//! Streams as events.

use super::Text;
use super::answer::{Answer, Choice, Finish};
use super::json::Json;
use super::part::{Citation, Part, Reasoning, ToolCall};
use super::signature::Signature;
use crate::call::Format;

/// An event of a stream. The blocks of one choice do not overlap: a reader whose format interleaves them holds the later one back. Each
/// choice that begins has exactly one finish, unless the stream breaks off.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// The head of the answer; the first event, once.
    Start {
        id: Option<Text<'a>>,
        model: Option<Text<'a>>,
        created_s: Option<i64>,
    },
    BlockStart {
        choice: u32,
        block: Block<'a>,
    },
    Delta {
        choice: u32,
        delta: Delta<'a>,
    },
    BlockEnd {
        choice: u32,
    },
    Finish {
        choice: u32,
        finish: Finish<'a>,
    },
}

/// The kind of a block, with what is known at its beginning.
#[derive(Debug, Clone, PartialEq)]
pub enum Block<'a> {
    Text,
    Refusal,
    Reasoning {
        id: Option<Text<'a>>,
        is_summary: bool,
    },
    ToolCall {
        id: Text<'a>,
        name: Text<'a>,
        is_custom: bool,
    },
    /// A block that comes whole.
    Opaque {
        format: Format,
        raw: Json<'a>,
    },
}

/// A piece of the open block.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta<'a> {
    /// A piece of a text, a refusal, reasoning or a call's arguments.
    Text(Text<'a>),
    /// The signature of reasoning, a call or a text.
    Signature(Signature<'a>),
    /// The encrypted form of reasoning, whole.
    Encrypted(Signature<'a>),
    Citation(Citation<'a>),
    /// The probabilities of tokens, in the shape of Chat's `logprobs.content`.
    Logprobs(Json<'a>),
}

/// The number of the last choice that is kept apart.
const CHOICES_MAX: u32 = 128;

/// Collects events into the answer that they make.
#[derive(Debug, Default)]
pub struct Assembler {
    answer: Answer<'static>,
    open: Vec<Option<Part<'static>>>,
}

impl Assembler {
    /// Adds an event.
    pub fn add(&mut self, event: Event<'_>) {
        match event {
            Event::Start { id, model, created_s } => {
                self.answer.id = id.map(owned);
                self.answer.model = model.map(owned);
                self.answer.created_s = created_s;
            }
            Event::BlockStart { choice, block } => {
                let at = self.choice(choice);
                self.open[at] = Some(begin(block));
            }
            Event::Delta { choice, delta } => {
                let at = self.choice(choice);
                match (&mut self.open[at], delta) {
                    (_, Delta::Logprobs(raw)) => extend(&mut self.answer.choices[at], &raw),
                    (Some(part), delta) => add(part, delta),
                    (None, _) => {}
                }
            }
            Event::BlockEnd { choice } => {
                let at = self.choice(choice);
                let part = self.open[at].take();
                self.answer.choices[at].parts.extend(part);
            }
            Event::Finish { choice, finish } => {
                let at = self.choice(choice);
                let Finish { reason, native, stop_sequence, message } = finish;
                self.answer.choices[at].finish =
                    Finish { reason, native: native.map(owned), stop_sequence: stop_sequence.map(owned), message: message.map(owned) };
            }
        }
    }

    /// Returns the answer of the events so far; open blocks are ended.
    #[must_use]
    pub fn finish(mut self) -> Answer<'static> {
        for (choice, part) in self.answer.choices.iter_mut().zip(self.open) {
            choice.parts.extend(part);
        }
        self.answer
    }

    fn choice(&mut self, choice: u32) -> usize {
        let at = usize::try_from(choice.min(CHOICES_MAX)).unwrap_or(0);
        if self.answer.choices.len() <= at {
            self.answer.choices.resize_with(at + 1, Choice::default);
            self.open.resize_with(at + 1, || None);
        }
        at
    }
}

fn owned(text: Text<'_>) -> Text<'static> {
    Text::Owned(text.into_owned())
}

fn signature(signature: Signature<'_>) -> Signature<'static> {
    Signature { vendor: signature.vendor, data: owned(signature.data) }
}

fn begin(block: Block<'_>) -> Part<'static> {
    match block {
        Block::Text => Part::text(""),
        Block::Refusal => Part::Refusal("".into()),
        Block::Reasoning { id, is_summary } => Part::Reasoning(Reasoning { id: id.map(owned), is_summary, ..Reasoning::default() }),
        Block::ToolCall { id, name, is_custom } => {
            Part::ToolCall(ToolCall { id: owned(id), name: owned(name), arguments: "".into(), is_custom, signature: None, cache: None })
        }
        Block::Opaque { format, raw } => Part::Opaque { format, raw: raw.into_owned() },
    }
}

fn add(part: &mut Part<'static>, delta: Delta<'_>) {
    match (part, delta) {
        (Part::Text { text, .. } | Part::Refusal(text), Delta::Text(more)) => text.to_mut().push_str(&more),
        (Part::Reasoning(reasoning), Delta::Text(more)) => reasoning.text.to_mut().push_str(&more),
        (Part::ToolCall(call), Delta::Text(more)) => call.arguments.to_mut().push_str(&more),
        (
            Part::Text { signature: of, .. }
            | Part::Reasoning(Reasoning { signature: of, .. })
            | Part::ToolCall(ToolCall { signature: of, .. }),
            Delta::Signature(new),
        ) => *of = Some(signature(new)),
        (Part::Reasoning(reasoning), Delta::Encrypted(new)) => reasoning.encrypted = Some(signature(new)),
        (Part::Text { citations, .. }, Delta::Citation(citation)) => citations.push(match citation {
            Citation::Url { url, title, start, end } => Citation::Url { url: owned(url), title: title.map(owned), start, end },
            Citation::Opaque { format, raw } => Citation::Opaque { format, raw: raw.into_owned() },
        }),
        _ => {}
    }
}

/// Appends an array of probabilities to those of a choice.
fn extend(choice: &mut Choice<'static>, more: &Json<'_>) {
    let read = |raw: &Json<'_>| raw.read::<Vec<serde_json::Value>>().unwrap_or_default();
    let mut all = choice.logprobs.as_ref().map(read).unwrap_or_default();
    all.extend(read(more));
    choice.logprobs = Some(Json::of(&all));
}
