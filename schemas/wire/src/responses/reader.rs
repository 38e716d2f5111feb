//! The reader of a stream: frames into events.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::annotation;
use super::answer::{created_s, finish};
use super::items::{self, Item, list, member, present, text};
use super::place::{Area, Kind, Place};
use super::stream::{is_final, kind, parse, response};
use crate::answer::AnswerError;
use crate::call::Format;
use crate::fields::Fields;
use crate::neutral::{Block, Citation, Delta, Event, Json, Part, Reasoning, Signature, Text, ToolCall};

/// The reader's state. Items come one after the other; one that begins before another has ended is read whole when its turn comes.
#[derive(Debug, Default)]
pub struct Reader {
    progress: Progress,
    has_items: bool,
    has_calls: bool,
    open: Option<OpenItem>,
    /// The items that began too early, by index, with their content once it is complete.
    late: BTreeMap<u64, Option<Box<RawValue>>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Waiting,
    Started,
    Finished,
}

/// The item whose pieces arrive.
#[derive(Debug)]
struct OpenItem {
    index: u64,
    kind: Kind,
    id: Option<String>,
    /// The open block of the item.
    block: Option<Place>,
    has_blocks: bool,
    /// Whether the open block has text.
    has_text: bool,
}

impl Reader {
    /// Reads the data of one frame, and appends its events. Unknown events are passed over.
    ///
    /// # Errors
    /// Fails if the frame reports an error, or is not a JSON object.
    pub fn read<'a>(&mut self, data: &'a [u8], events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        let Some(fields) = parse(data)? else { return Ok(()) };
        let kind = kind(&fields);
        if self.progress == Progress::Finished {
            return Ok(());
        }
        if let Some(response) = response(&fields) {
            self.start(&response, events);
            if is_final(&kind) {
                self.finish(&response, events);
            }
            return Ok(());
        }
        let index = number(&fields, "output_index");
        match kind.as_ref() {
            "response.output_item.added" => self.add(index, &fields, events),
            "response.output_item.done" => self.complete(index, &fields, events),
            "response.output_text.annotation.added" => {
                let place = Place { area: Area::Text, index: number(&fields, "content_index") };
                if let Some(raw) = present(&fields, "annotation")
                    && self.turn_to(index, place, events)
                {
                    events.push(Event::Delta { choice: 0, delta: Delta::Citation(annotation::read(raw)) });
                }
            }
            "response.content_part.added" => {
                let part = present(&fields, "part").and_then(|raw| Fields::parse(raw.get().as_bytes()).ok());
                if let Some(area) = part.and_then(|part| Area::of(&member(&part, "type")?)) {
                    self.turn_to(index, Place { area, index: number(&fields, "content_index") }, events);
                }
            }
            kind => {
                let Some((area, step)) = kind.rsplit_once('.') else { return Ok(()) };
                if let Some(area) = Area::of(area) {
                    self.text(index, area, step, &fields, events);
                }
            }
        }
        Ok(())
    }

    fn start<'a>(&mut self, response: &Fields<'a>, events: &mut Vec<Event<'a>>) {
        if self.progress == Progress::Waiting {
            self.progress = Progress::Started;
            let (id, model) = (member(response, "id"), member(response, "model"));
            events.push(Event::Start { id, model, created_s: created_s(response) });
        }
    }

    /// Begins an item.
    fn add<'a>(&mut self, index: u64, fields: &Fields<'a>, events: &mut Vec<Event<'a>>) {
        let Some(item) = item(fields) else { return };
        match &self.open {
            Some(open) if open.index == index => return,
            None if !self.late.contains_key(&index) => {}
            Some(_) | None => {
                self.late.entry(index).or_default();
                return;
            }
        }
        let name = member(&item, "type").unwrap_or_default();
        let call = match name.as_ref() {
            "function_call" => items::call(&item, "arguments"),
            "custom_tool_call" => items::call(&item, "input").map(|call| ToolCall { is_custom: true, ..call }),
            _ => None,
        };
        let kind = match name.as_ref() {
            "message" => Kind::Message,
            "reasoning" => Kind::Reasoning,
            _ if call.is_some() => Kind::Call,
            _ => Kind::Whole,
        };
        self.open(index, kind, member(&item, "id").map(Text::into_owned), events);
        if let Some(ToolCall { id, name, is_custom, .. }) = call {
            self.begin(Place { area: Area::Arguments, index: 0 }, Block::ToolCall { id, name, is_custom }, events);
        }
    }

    fn open(&mut self, index: u64, kind: Kind, id: Option<String>, events: &mut Vec<Event<'_>>) {
        if self.progress == Progress::Waiting {
            self.progress = Progress::Started;
            events.push(Event::Start { id: None, model: None, created_s: None });
        }
        self.has_items = true;
        self.open = Some(OpenItem { index, kind, id, block: None, has_blocks: false, has_text: false });
    }

    fn begin<'a>(&mut self, place: Place, block: Block<'a>, events: &mut Vec<Event<'a>>) {
        self.has_calls |= matches!(block, Block::ToolCall { .. });
        if let Some(open) = &mut self.open {
            (open.block, open.has_blocks, open.has_text) = (Some(place), true, false);
        }
        events.push(Event::BlockStart { choice: 0, block });
    }

    /// Ends the open block.
    fn close(&mut self, events: &mut Vec<Event<'_>>) {
        if self.open.as_mut().is_some_and(|open| open.block.take().is_some()) {
            events.push(Event::BlockEnd { choice: 0 });
        }
    }

    /// Makes a place the open block; returns whether its text may be passed on now.
    fn turn_to(&mut self, index: u64, place: Place, events: &mut Vec<Event<'_>>) -> bool {
        if self.late.contains_key(&index) {
            return false;
        }
        if self.open.is_none() && place.area != Area::Arguments {
            self.open(index, place.area.kind(), None, events);
        }
        let open = self.open.as_ref().filter(|open| open.index == index);
        let Some(open) = open else {
            self.late.entry(index).or_default();
            return false;
        };
        if open.kind != place.area.kind() {
            return false;
        }
        if open.block == Some(place) {
            return true;
        }
        let id = || open.id.clone().map(Text::Owned);
        let block = match place.area {
            Area::Text => Block::Text,
            Area::Refusal => Block::Refusal,
            Area::Summary => Block::Reasoning { id: id(), is_summary: true },
            Area::Thought => Block::Reasoning { id: id(), is_summary: false },
            Area::Arguments => return false,
        };
        self.close(events);
        self.begin(place, block, events);
        true
    }

    /// Reads a piece of text, or the complete text if there were no pieces.
    fn text<'a>(&mut self, index: u64, area: Area, step: &str, fields: &Fields<'a>, events: &mut Vec<Event<'a>>) {
        let place = match area {
            Area::Text | Area::Refusal | Area::Thought => Place { area, index: number(fields, "content_index") },
            Area::Summary => Place { area, index: number(fields, "summary_index") },
            Area::Arguments => Place { area, index: 0 },
        };
        let is_piece = step == "delta";
        if !matches!(step, "delta" | "added" | "done") || !self.turn_to(index, place, events) {
            return;
        }
        let whole = || present(fields, area.text_member()).or_else(|| present(fields, "input"));
        let raw = if is_piece { present(fields, "delta") } else { whole() };
        let Some(open) = &mut self.open else { return };
        if let Some(text) = raw.and_then(text).filter(|text| !text.is_empty() && (is_piece || !open.has_text)) {
            open.has_text = true;
            events.push(Event::Delta { choice: 0, delta: Delta::Text(text) });
        }
        if is_piece && let Some(raw) = present(fields, "logprobs").filter(|raw| raw.get().len() > "[]".len()) {
            events.push(Event::Delta { choice: 0, delta: Delta::Logprobs(raw.into()) });
        }
    }

    /// Ends an item. Its complete form counts where there were no pieces, and it alone has the encrypted reasoning.
    fn complete<'a>(&mut self, index: u64, fields: &Fields<'a>, events: &mut Vec<Event<'a>>) {
        let Some(raw) = present(fields, "item") else { return };
        if self.open.is_none() && !self.late.contains_key(&index) {
            self.open(index, Kind::Whole, None, events);
        }
        match self.open.take_if(|open| open.index == index) {
            None => drop(self.late.insert(index, Some(raw.to_owned()))),
            Some(open) if !open.has_blocks => self.whole(raw, events),
            Some(open) => {
                let item = item(fields);
                let rest = item.as_ref().and_then(|item| last_deltas(&open, item)).unwrap_or_default();
                events.extend(rest.into_iter().map(|delta| Event::Delta { choice: 0, delta }));
                if open.block.is_some() {
                    events.push(Event::BlockEnd { choice: 0 });
                }
            }
        }
        while self.open.is_none()
            && let Some(entry) = self.late.first_entry()
            && entry.get().is_some()
        {
            if let Some(raw) = entry.remove() {
                self.whole(&raw, events);
            }
        }
    }

    /// Reads a complete item.
    fn whole(&mut self, raw: &RawValue, events: &mut Vec<Event<'_>>) {
        match items::read(raw) {
            Some(Item::Message { role: _, parts, logprobs }) => {
                for (at, part) in parts.into_iter().enumerate() {
                    let logprobs: &[&RawValue] = if at == 0 { &logprobs } else { &[] };
                    self.part(part, logprobs, events);
                }
            }
            Some(Item::Call(call)) => self.part(Part::ToolCall(call), &[], events),
            Some(Item::Reasoning(all)) => {
                for reasoning in all {
                    self.part(Part::Reasoning(reasoning), &[], events);
                }
            }
            Some(Item::Result(_) | Item::Opaque(..)) | None => {
                self.part(Part::Opaque { format: Format::Responses, raw: raw.into() }, &[], events);
            }
        }
    }

    fn part(&mut self, part: Part<'_>, logprobs: &[&RawValue], events: &mut Vec<Event<'_>>) {
        let mut deltas = Vec::new();
        let block = match part {
            Part::Text { text, citations, .. } => {
                deltas.push(Delta::Text(owned(text)));
                deltas.extend(logprobs.iter().map(|raw| Delta::Logprobs(Json::from(*raw).into_owned())));
                deltas.extend(citations.into_iter().map(|citation| Delta::Citation(owned_citation(citation))));
                Block::Text
            }
            Part::Refusal(text) => {
                deltas.push(Delta::Text(owned(text)));
                Block::Refusal
            }
            Part::ToolCall(ToolCall { id, name, arguments, is_custom, .. }) => {
                self.has_calls = true;
                deltas.push(Delta::Text(owned(arguments)));
                Block::ToolCall { id: owned(id), name: owned(name), is_custom }
            }
            Part::Reasoning(Reasoning { text, is_summary, signature, encrypted, id }) => {
                deltas.push(Delta::Text(owned(text)));
                deltas.extend(signature.map(owned_signature).map(Delta::Signature));
                deltas.extend(encrypted.map(owned_signature).map(Delta::Encrypted));
                Block::Reasoning { id: id.map(owned), is_summary }
            }
            Part::Opaque { format, raw } => Block::Opaque { format, raw: raw.into_owned() },
            Part::Media(_) | Part::ToolResult(_) => return,
        };
        events.push(Event::BlockStart { choice: 0, block });
        let has_text = |delta: &Delta<'_>| !matches!(delta, Delta::Text(text) if text.is_empty());
        events.extend(deltas.into_iter().filter(has_text).map(|delta| Event::Delta { choice: 0, delta }));
        events.push(Event::BlockEnd { choice: 0 });
    }

    /// Ends the answer. Items that never came complete are taken from it.
    fn finish<'a>(&mut self, response: &Fields<'a>, events: &mut Vec<Event<'a>>) {
        self.close(events);
        self.open = None;
        let output = list(response, "output");
        if !self.has_items {
            for raw in &output {
                self.whole(raw, events);
            }
        }
        for (index, item) in std::mem::take(&mut self.late) {
            let theirs = || usize::try_from(index).ok().and_then(|index| output.get(index).copied());
            if let Some(raw) = item.as_deref().or_else(theirs) {
                self.whole(raw, events);
            }
        }
        self.progress = Progress::Finished;
        events.push(Event::Finish { choice: 0, finish: finish(response, self.has_calls) });
    }
}

/// Returns what only the complete form of an item says.
fn last_deltas<'a>(open: &OpenItem, item: &Fields<'a>) -> Option<Vec<Delta<'a>>> {
    match open.kind {
        Kind::Call => {
            let arguments = member(item, "arguments").or_else(|| member(item, "input"))?;
            (!open.has_text && !arguments.is_empty()).then(|| vec![Delta::Text(arguments)])
        }
        Kind::Reasoning => {
            let Reasoning { signature, encrypted, .. } = items::reasoning(item).pop()?;
            Some(signature.map(Delta::Signature).into_iter().chain(encrypted.map(Delta::Encrypted)).collect())
        }
        Kind::Message | Kind::Whole => None,
    }
}

fn item<'a>(fields: &Fields<'a>) -> Option<Fields<'a>> {
    Fields::parse(present(fields, "item")?.get().as_bytes()).ok()
}

fn number(fields: &Fields<'_>, name: &str) -> u64 {
    fields.read(name).ok().flatten().unwrap_or(0)
}

fn owned(text: Text<'_>) -> Text<'static> {
    Text::Owned(text.into_owned())
}

fn owned_signature(signature: Signature<'_>) -> Signature<'static> {
    Signature { vendor: signature.vendor, data: owned(signature.data) }
}

fn owned_citation(citation: Citation<'_>) -> Citation<'static> {
    match citation {
        Citation::Url { url, title, start, end } => Citation::Url { url: owned(url), title: title.map(owned), start, end },
        Citation::Opaque { format, raw } => Citation::Opaque { format, raw: raw.into_owned() },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::neutral::{Answer, Assembler, Reason, Vendor};

    fn assembled(frames: &[Value]) -> Answer<'static> {
        let (mut reader, mut assembler, mut is_open) = (Reader::default(), Assembler::default(), false);
        for frame in frames {
            let data = frame.to_string();
            let mut events = Vec::new();
            reader.read(data.as_bytes(), &mut events).unwrap();
            for event in events {
                match event {
                    Event::BlockStart { .. } => assert!(!std::mem::replace(&mut is_open, true), "blocks overlap"),
                    Event::BlockEnd { .. } => assert!(std::mem::take(&mut is_open), "no open block"),
                    Event::Delta { .. } => assert!(is_open, "a piece without a block"),
                    Event::Start { .. } | Event::Finish { .. } => {}
                }
                assembler.add(event);
            }
        }
        assembler.finish()
    }

    fn added(index: u64, item: &Value) -> Value {
        json!({"type":"response.output_item.added","output_index":index,"item":item})
    }

    fn done(index: u64, item: &Value) -> Value {
        json!({"type":"response.output_item.done","output_index":index,"item":item})
    }

    fn delta(kind: &str, index: u64, text: &str) -> Value {
        json!({"type":format!("response.{kind}.delta"),"output_index":index,"delta":text})
    }

    fn message(text: &str) -> Value {
        json!({"type":"message","id":"m","role":"assistant","content":[{"type":"output_text","text":text,"annotations":[]}]})
    }

    fn call(id: &str, arguments: &str) -> Value {
        json!({"type":"function_call","id":"fc","call_id":id,"name":"f","arguments":arguments})
    }

    fn completed(output: &[Value]) -> Value {
        json!({"type":"response.completed","response":{"status":"completed","output":output}})
    }

    fn arguments(answer: &Answer<'_>) -> Vec<(String, String)> {
        let of = |part: &Part<'_>| {
            let Part::ToolCall(call) = part else { return None };
            Some((call.id.to_string(), call.arguments.to_string()))
        };
        answer.choices[0].parts.iter().filter_map(of).collect()
    }

    #[test]
    fn interleaved_items_are_put_in_order() {
        let (one, two) = (call("1", "{\"a\":1}"), call("2", "{\"b\":2}"));
        let answer = assembled(&[
            added(0, &call("1", "")),
            delta("function_call_arguments", 0, "{\"a\""),
            added(1, &call("2", "")),
            delta("function_call_arguments", 1, "{\"b\":2}"),
            delta("function_call_arguments", 0, ":1}"),
            done(1, &two),
            done(0, &one),
            completed(&[one, two]),
        ]);
        let expected = [("1", "{\"a\":1}"), ("2", "{\"b\":2}")].map(|(id, text)| (id.to_owned(), text.to_owned()));
        assert_eq!((arguments(&answer), answer.choices[0].finish.reason), (expected.to_vec(), Reason::ToolCalls));
    }

    #[test]
    fn whole_items_are_read_where_there_are_no_pieces() {
        let items = [message("a"), call("1", "{}"), json!({"type":"web_search_call","id":"w"})];
        let opaque = Part::Opaque { format: Format::Responses, raw: Json::of(&items[2]) };
        let frames: Vec<Value> = (0..).zip(&items).flat_map(|(index, item)| [added(index, item), done(index, item)]).collect();
        for frames in [frames, vec![done(0, &items[0]), done(1, &items[1]), done(2, &items[2])], Vec::new()] {
            let answer = assembled(&[frames, vec![completed(&items)]].concat());
            let parts = &answer.choices[0].parts;
            assert_eq!((&parts[0], &parts[2], parts.len()), (&Part::text("a"), &opaque, 3));
            assert_eq!(arguments(&answer), [("1".to_owned(), "{}".to_owned())]);
        }
        let late = assembled(&[added(0, &message("")), delta("output_text", 0, "a"), added(1, &call("1", "")), completed(&items)]);
        assert_eq!(arguments(&late).len(), 1, "an item that never came complete");
    }

    #[test]
    fn a_done_event_says_what_the_pieces_left_out() {
        let answer = assembled(&[
            added(0, &message("")),
            json!({"type":"response.output_text.done","output_index":0,"content_index":0,"text":"whole"}),
            done(0, &message("whole")),
            added(1, &json!({"type":"custom_tool_call","call_id":"1","name":"g","input":""})),
            json!({"type":"response.custom_tool_call_input.done","output_index":1,"input":"free"}),
            done(1, &json!({"type":"custom_tool_call","call_id":"1","name":"g","input":"free"})),
            added(2, &call("2", "")),
            done(2, &call("2", "{}")),
            completed(&[]),
        ]);
        assert_eq!(answer.choices[0].parts[0], Part::text("whole"));
        assert_eq!(arguments(&answer), [("1", "free"), ("2", "{}")].map(|(id, text)| (id.to_owned(), text.to_owned())));
    }

    #[test]
    fn parts_of_an_item_are_blocks_and_the_proof_comes_with_its_end() {
        let item =
            json!({"type":"reasoning","id":"rs","summary":[{"text":"a"},{"text":"b"}],"content":[{"text":"c"}],"encrypted_content":"end"});
        let piece = |kind: &str, index: u64, text: &str| json!({"type":format!("response.{kind}.delta"),"output_index":0,"summary_index":index,"content_index":index,"delta":text});
        let answer = assembled(&[
            added(0, &json!({"type":"reasoning","id":"rs","summary":[],"encrypted_content":"begin"})),
            piece("reasoning_summary_text", 0, "a"),
            piece("reasoning_summary_text", 1, "b"),
            piece("reasoning_text", 0, "c"),
            done(0, &item),
            completed(&[]),
        ]);
        let whole = super::super::answer::neutral(json!({"status":"completed","output":[item]}).to_string().as_bytes())
            .map(|answer| format!("{:?}", answer.choices));
        assert_eq!(Ok(format!("{:?}", answer.choices)), whole);
        let Some(Part::Reasoning(last)) = answer.choices[0].parts.last() else { panic!() };
        assert_eq!(last.encrypted, Some(Signature { vendor: Vendor::OpenAi, data: "end".into() }));
    }

    #[test]
    fn citations_refusals_and_probabilities_are_read() {
        let url = json!({"type":"url_citation","url":"https://x","title":"t","start_index":0,"end_index":1});
        let answer = assembled(&[
            added(0, &message("")),
            json!({"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"a","logprobs":[{"token":"a"}]}),
            json!({"type":"response.output_text.annotation.added","output_index":0,"content_index":0,"annotation":url}),
            json!({"type":"response.refusal.delta","output_index":0,"content_index":1,"delta":"no"}),
            done(0, &message("a")),
            completed(&[]),
        ]);
        let choice = &answer.choices[0];
        assert!(matches!(&choice.parts[0], Part::Text { citations, .. } if matches!(citations[0], Citation::Url { .. })));
        assert_eq!((&choice.parts[1], &choice.logprobs), (&Part::Refusal("no".into()), &Some(Json::of(&json!([{"token":"a"}])))));
    }

    #[test]
    fn unknown_events_change_nothing_and_failures_are_errors() {
        let answer = assembled(&[
            json!({"type":"response.created","response":{"id":"r","model":"m","created_at":7.0}}),
            json!({"type":"response.what_comes_next","output_index":0,"item":7}),
            json!({"type":"ping"}),
            json!({}),
            delta("output_text", 0, "a"),
            json!({"type":"response.web_search_call.searching","output_index":1,"item_id":"w"}),
            json!({"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}}),
            delta("output_text", 0, "too late"),
        ]);
        assert_eq!((answer.id.as_deref(), answer.created_s, &answer.choices[0].parts), (Some("r"), Some(7), &vec![Part::text("a")]));
        assert_eq!(answer.choices[0].finish.reason, Reason::Length);
        let failed = br#"{"type":"response.failed","response":{"error":{"message":"m"}}}"#;
        assert!(matches!(Reader::default().read(failed, &mut Vec::new()), Err(AnswerError::Reported(_))));
        assert_eq!(Reader::default().read(b"<html>", &mut Vec::new()), Err(AnswerError::Malformed));
    }

    proptest! {
        #[test]
        fn any_order_of_events_keeps_the_blocks_apart(order in prop::collection::vec(0..14_usize, 0..40)) {
            let frames = [
                added(0, &message("")), delta("output_text", 0, "a"), done(0, &message("a")),
                added(1, &call("1", "")), delta("function_call_arguments", 1, "{}"), done(1, &call("1", "{}")),
                added(2, &json!({"type":"reasoning","id":"r","summary":[]})), delta("reasoning_summary_text", 2, "s"),
                done(2, &json!({"type":"reasoning","id":"r","summary":[],"encrypted_content":"e"})),
                added(3, &json!({"type":"new"})), done(3, &json!({"type":"new"})),
                json!({"type":"response.output_text.done","output_index":0,"content_index":1,"text":"b"}),
                json!({"type":"response.content_part.added","output_index":2,"content_index":0,"part":{"type":"reasoning_text"}}),
                completed(&[message("a"), call("1", "{}")]),
            ];
            let chosen: Vec<Value> = order.into_iter().map(|at| frames[at].clone()).collect();
            assembled(&chosen);
        }
    }
}
