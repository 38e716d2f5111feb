//! Reasoning in messages: OpenRouter's `reasoning_details`, and the plain texts of others.

use serde_json::value::RawValue;

use super::bodies::DetailBody;
use super::raw::{object, text_of};
use crate::call::Format;
use crate::fields::Fields;
use crate::neutral::{Json, Part, Reasoning, Signature, Text, Vendor};

/// The members with the plain text of reasoning, the usual ones first.
const TEXT_FIELDS: [&str; 4] = ["reasoning", "reasoning_content", "reasoning_text", "thinking"];

/// One of `reasoning_details`.
pub struct Detail<'a> {
    /// The number of the block.
    pub index: Option<u64>,
    pub id: Option<Text<'a>>,
    pub kind: DetailKind<'a>,
}

pub enum DetailKind<'a> {
    /// A piece of text, or its signature.
    Text { text: Text<'a>, is_summary: bool, signature: Option<Signature<'a>> },
    /// Encrypted reasoning, or Google's signature of a call or text.
    Encrypted(Signature<'a>),
    /// A detail of another kind.
    Other,
}

impl<'a> Detail<'a> {
    /// Reads a detail; `None` if it is no object.
    pub fn read(raw: &'a RawValue) -> Option<Self> {
        let detail = object(raw)?;
        let text = |name: &str| text_of(&detail, name).filter(|text| !text.is_empty());
        let vendor = vendor(text("format").as_deref());
        let sign = |data| vendor.map(|vendor| Signature { vendor, data });
        let kind = match text("type").as_deref() {
            Some("reasoning.text") => {
                DetailKind::Text { text: text("text").unwrap_or_default(), is_summary: false, signature: text("signature").and_then(sign) }
            }
            Some("reasoning.summary") => DetailKind::Text {
                text: text("summary").unwrap_or_default(),
                is_summary: true,
                signature: text("signature").and_then(sign),
            },
            Some("reasoning.encrypted") => text("data").and_then(sign).map_or(DetailKind::Other, DetailKind::Encrypted),
            _ => DetailKind::Other,
        };
        Some(Self { index: detail.read("index").ok().flatten(), id: text("id"), kind })
    }
}

/// Returns the vendor of a detail. OpenRouter did not always name the format, when Anthropic was alone in signing.
fn vendor(format: Option<&str>) -> Option<Vendor> {
    match format {
        None | Some("unknown") => Some(Vendor::Anthropic),
        Some("azure-openai-responses-v1") => Some(Vendor::OpenAi),
        Some(format) => Vendor::of_format(format),
    }
}

/// The reasoning of a message.
#[derive(Default)]
pub struct Thoughts<'a> {
    /// The parts in their order, each with its place in the message, if that is known.
    pub parts: Vec<(Option<u64>, Part<'a>)>,
    /// Google's signatures of calls and texts, with the id of the call.
    pub signatures: Vec<(Option<Text<'a>>, Signature<'a>)>,
}

impl<'a> Thoughts<'a> {
    /// Reads the reasoning of a message: the details, else the first plain text.
    pub fn read(message: &Fields<'a>, details: Vec<&'a RawValue>) -> Self {
        let mut all = Self::default();
        for raw in details {
            match Detail::read(raw) {
                Some(detail) => all.add(detail, raw),
                None => all.parts.push((None, Part::Opaque { format: Format::Chat, raw: raw.into() })),
            }
        }
        let is_visible = |(_, part): &(_, Part<'_>)| matches!(part, Part::Reasoning(reasoning) if !reasoning.text.is_empty());
        if !all.parts.iter().any(is_visible)
            && let Some(text) = plain_text(message)
        {
            all.parts.insert(0, (None, Part::Reasoning(Reasoning { text, ..Reasoning::default() })));
        }
        all
    }

    fn add(&mut self, detail: Detail<'a>, raw: &'a RawValue) {
        let Detail { index, id, kind } = detail;
        let mut part = match kind {
            DetailKind::Encrypted(data) if data.vendor == Vendor::Google => return self.signatures.push((id, data)),
            DetailKind::Other => return self.parts.push((index, Part::Opaque { format: Format::Chat, raw: raw.into() })),
            DetailKind::Text { text, is_summary, signature } => Reasoning { text, is_summary, signature, id, encrypted: None },
            DetailKind::Encrypted(data) => Reasoning { encrypted: Some(data), id, ..Reasoning::default() },
        };
        if let Some((before, Part::Reasoning(open))) = self.parts.last_mut()
            && is_same(*before, index, open, &part)
        {
            match (open.text.is_empty(), part.text.is_empty()) {
                (_, true) => {}
                (true, false) => (open.text, open.is_summary) = (part.text, part.is_summary),
                (false, false) => open.text.to_mut().push_str(&part.text),
            }
            open.signature = part.signature.take().or(open.signature.take());
            open.encrypted = part.encrypted.take().or(open.encrypted.take());
            open.id = open.id.take().or(part.id.take());
            return;
        }
        self.parts.push((index, Part::Reasoning(part)));
    }
}

/// Returns whether a detail continues the block before it. A stream cuts one block into many details with the same index.
fn is_same(before: Option<u64>, index: Option<u64>, open: &Reasoning<'_>, next: &Reasoning<'_>) -> bool {
    let agree = |one: &Option<Text<'_>>, other: &Option<Text<'_>>| one.is_none() || other.is_none() || one == other;
    let is_free = open.encrypted.is_none() || next.encrypted.is_none();
    match (before, index) {
        (Some(before), Some(index)) => before == index && is_free && agree(&open.id, &next.id),
        _ => is_free && open.id.is_some() && open.id == next.id,
    }
}

/// Returns the plain text of reasoning in a message or delta.
pub fn plain_text<'a>(message: &Fields<'a>) -> Option<Text<'a>> {
    TEXT_FIELDS.iter().find_map(|name| text_of(message, name).filter(|text| !text.is_empty()))
}

/// Puts reasoning to its places among the other parts of a message; what has no place stands first.
pub fn interleave<'a>(thoughts: Vec<(Option<u64>, Part<'a>)>, others: Vec<Part<'a>>) -> Vec<Part<'a>> {
    let mut all: Vec<Part<'a>> = Vec::with_capacity(thoughts.len() + others.len());
    let mut others = others.into_iter();
    for (index, part) in thoughts {
        let before = usize::try_from(index.unwrap_or(0)).unwrap_or(usize::MAX).saturating_sub(all.len());
        all.extend(others.by_ref().take(before));
        all.push(part);
    }
    all.extend(others);
    all
}

/// One of `reasoning_details` to be written: a known one, or the bytes of another.
#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
pub enum DetailPiece<'a> {
    Known(DetailBody<'a>),
    Raw(&'a Json<'a>),
}

/// Returns whether an opaque part is one of `reasoning_details`.
pub fn is_detail(raw: &Json<'_>) -> bool {
    object(&raw.0).and_then(|part| text_of(&part, "type").map(|kind| kind.starts_with("reasoning."))).unwrap_or(false)
}

/// The place of a part in a message, as a reader of the message will count: all text is one part.
#[derive(Debug, Default)]
pub struct Place {
    parts: usize,
    has_text: bool,
    has_refusal: bool,
}

impl Place {
    /// Returns the place of the next part.
    pub const fn next(&self) -> usize {
        self.parts
    }

    /// Counts reasoning, a call or an image.
    pub const fn add(&mut self) {
        self.parts += 1;
    }

    /// Counts a text that is not empty.
    pub const fn add_text(&mut self) {
        self.parts += if self.has_text { 0 } else { 1 };
        self.has_text = true;
    }

    /// Counts a refusal.
    pub const fn add_refusal(&mut self) {
        self.parts += if self.has_refusal { 0 } else { 1 };
        self.has_refusal = true;
    }
}

/// The id of a detail that signs an empty text: Google ends some streams with one.
pub const EMPTY_TEXT: &str = "empty_text";

/// Writes all reasoning and all signatures of parts as details, each under the place of its part.
pub fn details<'a>(parts: &'a [Part<'_>], id_of: impl Fn(&'a str) -> Text<'a>) -> Vec<DetailPiece<'a>> {
    let mut all = Vec::new();
    let mut place = Place::default();
    for part in parts {
        let index = place.next();
        match part {
            Part::Reasoning(reasoning) => {
                let before = all.len();
                all.extend(blocks(reasoning, index).map(DetailPiece::Known));
                if all.len() > before {
                    place.add();
                }
            }
            Part::Text { text, signature, .. } => {
                let id = text.is_empty().then_some(Text::Borrowed(EMPTY_TEXT));
                all.extend(signature.as_ref().map(|signature| DetailPiece::Known(DetailBody::encrypted(signature, id, index))));
                if !text.is_empty() {
                    place.add_text();
                }
            }
            Part::ToolCall(call) => {
                let signature = call.signature.as_ref().map(|signature| DetailBody::encrypted(signature, Some(id_of(&call.id)), index));
                all.extend(signature.map(DetailPiece::Known));
                place.add();
            }
            Part::Opaque { format: Format::Chat, raw } if is_detail(raw) => {
                all.push(DetailPiece::Raw(raw));
                place.add();
            }
            Part::Refusal(_) => place.add_refusal(),
            Part::Media(_) => place.add(),
            Part::ToolResult(_) | Part::Opaque { .. } => {}
        }
    }
    all
}

/// Returns the details of one block: its text with the signature, and its encrypted form.
fn blocks<'a>(reasoning: &'a Reasoning<'_>, index: usize) -> impl Iterator<Item = DetailBody<'a>> {
    let Reasoning { text, is_summary, signature, encrypted, id } = reasoning;
    let id = id.as_deref().map(Text::Borrowed);
    let visible = (!text.is_empty() || signature.is_some()).then(|| {
        let text = DetailBody { id: id.clone(), ..DetailBody::text(text, *is_summary, index) };
        match signature {
            Some(signature) => text.signed(signature),
            None => DetailBody { format: encrypted.as_ref().map(|data| data.vendor.format()), ..text },
        }
    });
    let hidden = encrypted.as_ref().map(|data| DetailBody::encrypted(data, id, index));
    visible.into_iter().chain(hidden)
}

/// Joins the visible texts of reasoning; `None` if there are none.
pub fn visible_text<'a>(parts: &'a [Part<'_>]) -> Option<Text<'a>> {
    let mut all: Option<Text<'a>> = None;
    for part in parts {
        let Part::Reasoning(reasoning) = part else { continue };
        match &mut all {
            None => all = Some(Text::Borrowed(&reasoning.text)),
            Some(all) => all.to_mut().push_str(&reasoning.text),
        }
    }
    all.filter(|text| !text.is_empty())
}
