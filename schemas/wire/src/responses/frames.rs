//! The frames of a stream as they are written.

use serde::Serialize;
use serde_json::value::RawValue;

use super::conversation::Thought;
use super::output::{OutputContent, OutputItem};
use crate::neutral::Json;

/// The numbered frames of one stream.
#[derive(Debug, Default)]
pub struct Frames {
    count: u64,
}

/// The members of an event, of which each type has a few.
#[derive(Debug, Default, Serialize)]
pub struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<ItemBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<PartBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation: Option<&'a Json<'static>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotation_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<&'a [Box<RawValue>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<&'a Json<'static>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ItemBody<'a> {
    Begun(OutputItem<'a>),
    Done(&'a Json<'static>),
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum PartBody<'a> {
    Content(&'a OutputContent<'a>),
    Thought(Thought<'a>),
}

#[derive(Debug, Serialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    sequence_number: u64,
    #[serde(flatten)]
    body: Body<'a>,
}

impl Frames {
    /// Writes a frame.
    pub fn write(&mut self, kind: &str, body: Body<'_>, into: &mut Vec<u8>) {
        into.extend_from_slice(b"event: ");
        into.extend_from_slice(kind.as_bytes());
        into.extend_from_slice(b"\ndata: ");
        let frame = serde_json::to_vec(&Frame { kind, sequence_number: self.count, body });
        into.extend(frame.unwrap_or_default());
        into.extend_from_slice(b"\n\n");
        self.count += 1;
    }
}
