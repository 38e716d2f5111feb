//! The frames of reasoning in a written stream.

use super::conversation::Thought;
use super::frames::{Body, PartBody};
use super::output::{self, item_id};
use super::writer::Writer;
use crate::answer::Names;
use crate::neutral::{Json, Reasoning};

impl Writer {
    /// Writes the first frames of reasoning with text, and returns the id of its item.
    pub(super) fn begin_reasoning(&mut self, id: Option<&str>, is_summary: bool, names: &Names<'_>, into: &mut Vec<u8>) -> String {
        self.complete_message("completed", into);
        let output_index = Some(self.output.len());
        let id = id.map_or_else(|| item_id("rs", names, self.output.len()), str::to_owned);
        self.added(output::reasoning(&id, &Reasoning::default()), into);
        let body = Body { item_id: Some(&id), output_index, ..Body::default() };
        let (kind, body) = if is_summary {
            let part = Some(PartBody::Thought(Thought::SummaryText { text: "" }));
            ("response.reasoning_summary_part.added", Body { summary_index: Some(0), part, ..body })
        } else {
            let part = Some(PartBody::Thought(Thought::ReasoningText { text: "" }));
            ("response.content_part.added", Body { content_index: Some(0), part, ..body })
        };
        self.frames.write(kind, body, into);
        id
    }

    /// Writes the last frames of reasoning, of which the first may not be written yet.
    pub(super) fn close_reasoning(
        &mut self,
        own: Option<&str>,
        begun: Option<String>,
        reasoning: &Reasoning<'_>,
        names: &Names<'_>,
        into: &mut Vec<u8>,
    ) {
        let id = match begun {
            Some(id) => {
                self.close_thought(&id, reasoning, into);
                id
            }
            // Reasoning without any text and proof is nothing.
            None if reasoning.signature.is_none() && reasoning.encrypted.is_none() => return,
            None if reasoning.encrypted.is_none() => {
                let id = self.begin_reasoning(own, true, names, into);
                self.close_thought(&id, &Reasoning { is_summary: true, ..Reasoning::default() }, into);
                id
            }
            None => {
                self.complete_message("completed", into);
                let id = own.map_or_else(|| item_id("rs", names, self.output.len()), str::to_owned);
                self.added(output::reasoning(&id, &Reasoning::default()), into);
                id
            }
        };
        self.item_done(Json::of(&output::reasoning(&id, reasoning)), into);
    }

    /// Ends the text of reasoning.
    fn close_thought(&mut self, id: &str, reasoning: &Reasoning<'_>, into: &mut Vec<u8>) {
        let text = reasoning.text.as_ref();
        let body = || Body { item_id: Some(id), output_index: Some(self.output.len()), ..Body::default() };
        let (done, part_done) = if reasoning.is_summary {
            let part = Some(PartBody::Thought(Thought::SummaryText { text }));
            (Body { summary_index: Some(0), text: Some(text), ..body() }, Body { summary_index: Some(0), part, ..body() })
        } else {
            let part = Some(PartBody::Thought(Thought::ReasoningText { text }));
            (Body { content_index: Some(0), text: Some(text), ..body() }, Body { content_index: Some(0), part, ..body() })
        };
        let (kind, part_kind) = if reasoning.is_summary {
            ("response.reasoning_summary_text.done", "response.reasoning_summary_part.done")
        } else {
            ("response.reasoning_text.done", "response.content_part.done")
        };
        self.frames.write(kind, done, into);
        self.frames.write(part_kind, part_done, into);
    }
}
