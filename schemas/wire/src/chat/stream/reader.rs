//! The reader of a provider's stream into events.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::blocks::{Blocks, Piece, own_signature};
use crate::answer::AnswerError;
use crate::chat::neutral::{
    Detail, DetailKind, annotation, arguments, array, array_of, finish, is_blank, object, object_of, plain_text, read_part,
    signature_of_call, text, text_of,
};
use crate::chat::response::reported;
use crate::fields::Fields;
use crate::neutral::{Delta, Event, Finish, Json, Part, Reason, Signature, Text, Vendor};

/// The maximum number of choices, which is OpenAI's bound.
const CHOICES_MAX: u32 = 128;
/// The maximum number of signatures whose calls have not begun.
const SIGNATURES_MAX: usize = 1_024;

/// The reader of one stream. Finishes are told at the end, since some servers name one in every piece.
#[derive(Debug, Default)]
pub struct Reader {
    is_started: bool,
    choices: BTreeMap<u32, Choice>,
}

#[derive(Debug)]
struct Choice {
    blocks: Blocks,
    thought: Thought,
    /// Google's signatures whose calls have not begun.
    signatures: Vec<(String, Signature<'static>)>,
    finish: Finish<'static>,
}

/// The latest block of reasoning.
#[derive(Debug, Default)]
struct Thought {
    index: Option<u64>,
    id: Option<String>,
    is_signed: bool,
    is_encrypted: bool,
}

impl Reader {
    /// Reads the data of one frame, and appends its events.
    ///
    /// # Errors
    /// Fails if the frame reports an error, or is no chunk.
    pub fn read<'a>(&mut self, data: &'a [u8], events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let fields = Fields::parse(data).map_err(|_| AnswerError::Malformed)?;
        if let Some(error) = reported(&fields, data) {
            return Err(error);
        }
        let pieces = array_of(&fields, "choices").ok_or(AnswerError::Malformed)?;
        if pieces.is_empty() {
            return self.bare(&fields, events);
        }
        self.start(&fields, events);
        for (place, raw) in pieces.into_iter().enumerate() {
            let piece = object(raw).ok_or(AnswerError::Malformed)?;
            let index = piece.read("index").ok().flatten().or_else(|| u32::try_from(place).ok());
            let choice = self.choice(index.filter(|index| *index < CHOICES_MAX).ok_or(AnswerError::Malformed)?);
            choice.read(&piece, events)?;
        }
        Ok(())
    }

    /// Appends the events that end what is still open.
    pub fn finish(&mut self, events: &mut Vec<Event<'_>>) {
        for (index, choice) in std::mem::take(&mut self.choices) {
            choice.finish(index, events);
        }
    }

    fn start<'a>(&mut self, fields: &Fields<'a>, events: &mut Vec<Event<'a>>) {
        if self.is_started {
            return;
        }
        self.is_started = true;
        let name = |name: &str| text_of(fields, name).filter(|text| !text.is_empty());
        events.push(Event::Start { id: name("id"), model: name("model"), created_s: fields.read("created").ok().flatten() });
    }

    fn choice(&mut self, index: u32) -> &mut Choice {
        self.choices.entry(index).or_insert_with(|| Choice {
            blocks: Blocks::new(index),
            thought: Thought::default(),
            signatures: Vec::new(),
            finish: Finish::default(),
        })
    }

    /// Reads a frame without choices: metadata, or the bare text of a server that knows none.
    fn bare<'a>(&mut self, fields: &Fields<'a>, events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        let bare = ["content", "text", "response", "output_text"].into_iter().find_map(|name| text_of(fields, name));
        let inner = object_of(fields, "delta").or_else(|| object_of(fields, "message"));
        if inner.as_ref().is_some_and(|inner| !inner.0.is_empty()) || bare.as_ref().is_some_and(|text| !text.is_empty()) {
            self.start(fields, events);
            let choice = self.choice(0);
            match (inner, bare) {
                (Some(delta), _) => return choice.delta(&delta, events),
                (None, text) => choice.blocks.text(Delta::Text(text.unwrap_or_default()), events),
            }
        }
        Ok(())
    }
}

impl Choice {
    fn read<'a>(&mut self, piece: &Fields<'a>, events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        match object_of(piece, "delta").or_else(|| object_of(piece, "message")) {
            Some(delta) => self.delta(&delta, events)?,
            None => self.content(piece.get("text"), events),
        }
        let logprobs = object_of(piece, "logprobs").and_then(|logprobs| logprobs.get("content"));
        if let Some(content) = logprobs.filter(|content| content.get().starts_with('[') && !is_blank(content)) {
            let choice = self.blocks.choice();
            events.push(Event::Delta { choice, delta: Delta::Logprobs(Json::from(content)) });
        }
        let Finish { reason, native, message, .. } = finish(piece, false);
        if let Some(native) = native {
            let message = message.map(|message| message.into_owned().into());
            self.finish = Finish { reason, native: Some(native.into_owned().into()), stop_sequence: None, message };
        }
        Ok(())
    }

    fn finish(mut self, choice: u32, events: &mut Vec<Event<'_>>) {
        for (_, signature) in std::mem::take(&mut self.signatures) {
            self.blocks.text(Delta::Signature(signature), events);
        }
        self.blocks.finish(events);
        if self.finish.reason == Reason::Stop && self.blocks.has_calls() {
            self.finish.reason = Reason::ToolCalls;
        }
        events.push(Event::Finish { choice, finish: self.finish });
    }

    fn delta<'a>(&mut self, delta: &Fields<'a>, events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        self.reasoning(delta, events);
        self.content(delta.get("content"), events);
        if let Some(text) = text_of(delta, "refusal").filter(|text| !text.is_empty()) {
            self.blocks.refusal(text, events);
        }
        for raw in array_of(delta, "annotations").unwrap_or_default() {
            self.blocks.text(Delta::Citation(annotation(raw)), events);
        }
        for raw in array_of(delta, "tool_calls").unwrap_or_default() {
            if let Some(call) = object(raw) {
                self.call(&call, events)?;
            }
        }
        if let Some(function) = object_of(delta, "function_call") {
            self.add_call(piece(None, Text::default(), &function, "arguments", false), events)?;
        }
        Ok(())
    }

    /// Reads content: a text, or Mistral's array of parts.
    fn content<'a>(&mut self, raw: Option<&'a RawValue>, events: &mut Vec<Event<'a>>) {
        let Some(raw) = raw.filter(|raw| !is_blank(raw)) else { return };
        let parts = match text(raw) {
            Some(text) => vec![Part::text(text)],
            None => array(raw).unwrap_or_else(|| vec![raw]).into_iter().filter_map(read_part).collect(),
        };
        for part in parts {
            match part {
                Part::Text { text, .. } if text.is_empty() => {}
                Part::Text { text, .. } => self.blocks.text(Delta::Text(text), events),
                Part::Refusal(text) => self.blocks.refusal(text, events),
                Part::Reasoning(reasoning) => self.thought(None, None, false, reasoning.text, events),
                Part::Media(_) | Part::ToolCall(_) | Part::ToolResult(_) | Part::Opaque { .. } => {}
            }
        }
    }

    /// Reads reasoning: the details, else the plain text; many servers send both.
    fn reasoning<'a>(&mut self, delta: &Fields<'a>, events: &mut Vec<Event<'a>>) {
        let raw = array_of(delta, "reasoning_details").unwrap_or_default();
        let details: Vec<(Detail<'a>, &'a RawValue)> = raw.into_iter().filter_map(|raw| Some((Detail::read(raw)?, raw))).collect();
        let is_visible = |kind: &DetailKind<'_>| matches!(kind, DetailKind::Text { text, .. } if !text.is_empty());
        if !details.iter().any(|(detail, _)| is_visible(&detail.kind))
            && let Some(text) = plain_text(delta)
        {
            self.thought(None, None, false, text, events);
        }
        for (Detail { index, id, kind }, raw) in details {
            match kind {
                DetailKind::Text { text, is_summary, signature } => {
                    if !text.is_empty() {
                        self.thought(index, id.clone(), is_summary, text, events);
                    }
                    if let Some(signature) = signature {
                        self.enter(index, id, is_summary, false, events);
                        self.thought.is_signed = true;
                        self.blocks.reasoning(Delta::Signature(signature), events);
                    }
                }
                DetailKind::Encrypted(data) if data.vendor == Vendor::Google => self.sign(id.unwrap_or_default(), data, events),
                DetailKind::Encrypted(data) => {
                    self.enter(index, id, false, self.thought.is_encrypted, events);
                    self.thought.is_encrypted = true;
                    self.blocks.reasoning(Delta::Encrypted(data), events);
                }
                DetailKind::Other => self.blocks.opaque(raw.into(), events),
            }
        }
    }

    /// Adds a piece of visible reasoning.
    fn thought<'a>(&mut self, index: Option<u64>, id: Option<Text<'a>>, is_summary: bool, text: Text<'a>, events: &mut Vec<Event<'a>>) {
        let is_ended = index.is_none() && (self.thought.is_signed || self.thought.is_encrypted);
        self.enter(index, id, is_summary, is_ended, events);
        self.blocks.reasoning(Delta::Text(text), events);
    }

    /// Continues the latest block of reasoning, or begins the next one.
    fn enter<'a>(&mut self, index: Option<u64>, id: Option<Text<'a>>, is_summary: bool, is_ended: bool, events: &mut Vec<Event<'a>>) {
        let differs = matches!((self.thought.index, index), (Some(before), Some(now)) if before != now)
            || matches!((&self.thought.id, &id), (Some(before), Some(now)) if before != now);
        if is_ended || differs || !self.blocks.is_reasoning() {
            self.thought = Thought::default();
            self.blocks.begin_reasoning(id.clone(), is_summary, events);
        }
        self.thought.index = self.thought.index.or(index);
        self.thought.id = self.thought.id.take().or_else(|| id.map(Text::into_owned));
    }

    /// Puts Google's signature on its call, or keeps it until that begins. One without a call belongs to the text.
    fn sign<'a>(&mut self, id: Text<'a>, signature: Signature<'a>, events: &mut Vec<Event<'a>>) {
        if let Some(signature) = self.blocks.sign(&id, signature, events)
            && self.signatures.len() < SIGNATURES_MAX
        {
            self.signatures.push((id.into_owned(), own_signature(signature)));
        }
    }

    fn call<'a>(&mut self, call: &Fields<'a>, events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        let index = call.read("index").ok().flatten();
        let id = text_of(call, "id").unwrap_or_default();
        let mut piece = match (object_of(call, "custom"), object_of(call, "function")) {
            (Some(custom), None) => piece(index, id, &custom, "input", true),
            (_, Some(function)) => piece(index, id, &function, "arguments", false),
            (None, None) => piece(index, id, &Fields(Vec::new()), "arguments", false),
        };
        piece.signature = signature_of_call(call);
        self.add_call(piece, events)
    }

    fn add_call<'a>(&mut self, piece: Piece<'a>, events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        let id = piece.id.clone();
        let is_signed = piece.signature.is_some();
        self.blocks.call(piece, events)?;
        if let Some(place) = self.signatures.iter().position(|(of, _)| !of.is_empty() && *of == id) {
            let (_, signature) = self.signatures.swap_remove(place);
            if !is_signed {
                self.blocks.sign(&id, signature, events);
            }
        }
        Ok(())
    }
}

/// Reads the inner object of a piece of a call.
fn piece<'a>(index: Option<u64>, id: Text<'a>, inner: &Fields<'a>, body: &str, is_custom: bool) -> Piece<'a> {
    Piece {
        index,
        id,
        name: text_of(inner, "name").unwrap_or_default(),
        arguments: inner.get(body).map(arguments).unwrap_or_default(),
        is_custom,
        signature: None,
    }
}
