//! The conversation of a request for Anthropic: system text, and messages in which every call is answered at once.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::body::{Block, CacheControl, Content, Source as BodySource, Typed, free_input, input};
use super::spelling::Field;
use super::tools::{NAME_RULE, is_name};
use crate::call::Format;
use crate::neutral::{
    Citation, Media, MediaKind, Part, Reasoning, Request, Role, Signature, Source, Text, ToolCall, ToolResult, Turn, Untranslatable, Vendor,
};

/// The types of images that Anthropic takes.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
/// The beginnings of images in base64.
const BEGINNINGS: [(&str, &str); 4] =
    [("/9j/", "image/jpeg"), ("iVBORw0KGgo", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];

/// A message of the user or the assistant.
#[derive(Debug, Serialize)]
pub struct Message<'r> {
    role: &'static str,
    content: Content<'r>,
    /// The ids of its calls.
    #[serde(skip)]
    calls: Vec<Text<'r>>,
    /// The ids of the calls that it answers.
    #[serde(skip)]
    results: Vec<Text<'r>>,
}

/// A conversation.
#[derive(Debug)]
pub struct Conversation<'r> {
    pub system: Content<'r>,
    pub messages: Vec<Message<'r>>,
}

impl<'r> Conversation<'r> {
    /// Writes the turns of a request. System turns anywhere become the system prompt, neighbours of one role become one message, and empty
    /// ones are left out. The names of speakers and the detail of images have no counterpart.
    pub fn of(request: &'r Request<'_>) -> Result<Self, Untranslatable> {
        let field = Field::Conversation.of(request.source);
        let mut writer = Writer { is_own: request.source == Format::Messages, field, ids: Ids::default() };
        let mut all = Self { system: Content::default(), messages: Vec::new() };
        for turn in &request.turns {
            match turn.role {
                Role::System | Role::Developer => writer.system(turn, &mut all.system.0)?,
                Role::User => all.add(writer.message("user", turn)?),
                Role::Assistant => all.add(writer.message("assistant", turn)?),
            }
        }
        for message in all.messages.iter_mut().filter(|message| !message.results.is_empty()) {
            message.content.0.sort_by_key(|block| !matches!(block, Block::Typed(Typed::ToolResult { .. })));
        }
        if all.messages.is_empty() {
            return Err(Untranslatable::new(field, "it must have a message besides the system's, with some content"));
        }
        // Calls of the vendor's own tools need no result, and only the vendor knows which.
        if !writer.is_own {
            all.check_pairs(field)?;
        }
        Ok(all)
    }

    fn add(&mut self, message: Message<'r>) {
        if message.content.0.is_empty() {
            return;
        }
        match self.messages.last_mut().filter(|last| last.role == message.role) {
            None => self.messages.push(message),
            Some(last) => {
                last.content.0.extend(message.content.0);
                last.calls.extend(message.calls);
                last.results.extend(message.results);
            }
        }
    }

    /// Checks that the message after a call answers it, and answers nothing else.
    fn check_pairs(&self, field: &'static str) -> Result<(), Untranslatable> {
        let none = Vec::new();
        let calls = std::iter::once(&none).chain(self.messages.iter().map(|message| &message.calls));
        let results = self.messages.iter().map(|message| &message.results).chain(std::iter::once(&none));
        for (calls, results) in calls.zip(results) {
            let answered: HashSet<&Text<'_>> = results.iter().collect();
            if let Some(id) = calls.iter().find(|id| !answered.contains(id)) {
                return Err(Untranslatable::new(field, format!("the next turn must have the result of each call, and '{id}' has none")));
            }
            if results.len() != calls.len() {
                return Err(Untranslatable::new(field, "each result must answer one call of the turn before"));
            }
        }
        Ok(())
    }

    /// Returns whether the model is in the middle of a turn with tools that does not begin with its thoughts.
    pub fn lacks_thoughts(&self) -> bool {
        let [.., call, result] = &self.messages[..] else { return false };
        let begins_with_thoughts =
            matches!(call.content.0.first(), Some(Block::Typed(Typed::Thinking { .. } | Typed::RedactedThinking { .. })));
        !result.results.is_empty() && !begins_with_thoughts
    }
}

struct Writer<'r> {
    /// Whether the request comes from a caller of this format.
    is_own: bool,
    /// The caller's name of the conversation.
    field: &'static str,
    ids: Ids<'r>,
}

impl<'r> Writer<'r> {
    fn refuse<T>(&self, reason: impl Into<Text<'static>>) -> Result<T, Untranslatable> {
        Err(Untranslatable::new(self.field, reason))
    }

    fn system(&self, turn: &'r Turn<'_>, into: &mut Vec<Block<'r>>) -> Result<(), Untranslatable> {
        for part in &turn.parts {
            match part {
                Part::Text { text, citations, cache, .. } => into.extend(text_block(text, citations, cache.map(CacheControl::from))),
                Part::Opaque { format: Format::Messages, raw } => into.push(Block::Raw(raw.clone())),
                Part::Refusal(_) | Part::Media(_) | Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => {
                    return self.refuse("the system's part must be text");
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, role: &'static str, turn: &'r Turn<'_>) -> Result<Message<'r>, Untranslatable> {
        let mut message = Message { role, content: Content::default(), calls: Vec::new(), results: Vec::new() };
        for part in &turn.parts {
            self.part(part, turn.role, &mut message)?;
        }
        Ok(message)
    }

    fn part(&mut self, part: &'r Part<'_>, role: Role, message: &mut Message<'r>) -> Result<(), Untranslatable> {
        let blocks = &mut message.content.0;
        match part {
            Part::Text { text, citations, cache, .. } => blocks.extend(text_block(text, citations, cache.map(CacheControl::from))),
            Part::Refusal(text) => blocks.extend(text_block(text, &[], None)),
            Part::Media(_) if role == Role::Assistant && !self.is_own => {
                return self.refuse("the assistant's turns must have no images and files");
            }
            Part::Media(media) => blocks.push(self.media(media)?),
            Part::Reasoning(reasoning) => blocks.extend(thoughts(reasoning)),
            Part::ToolCall(call) => {
                let (block, id) = self.call(call)?;
                blocks.push(block);
                message.calls.push(id);
            }
            Part::ToolResult(result) => {
                let (block, id) = self.result(result)?;
                blocks.push(block);
                message.results.push(id);
            }
            Part::Opaque { format: Format::Messages, raw } => blocks.push(Block::Raw(raw.clone())),
            Part::Opaque { .. } => return self.refuse("it has content that only the caller's format knows"),
        }
        Ok(())
    }

    fn call(&mut self, call: &'r ToolCall<'_>) -> Result<(Block<'r>, Text<'r>), Untranslatable> {
        let input = if call.is_custom { Some(free_input(&call.arguments)) } else { input(&call.arguments) };
        let Some(input) = input else {
            return self.refuse(format!("the arguments of the call '{}' must be a JSON object", call.id));
        };
        if !self.is_own && !is_name(&call.name) {
            return self.refuse(format!("the name of the tool '{}' {NAME_RULE}", call.name));
        }
        let id = if self.is_own { Text::Borrowed(call.id.as_ref()) } else { self.ids.of_call(&call.id) };
        let cache_control = call.cache.map(CacheControl::from);
        Ok((Block::Typed(Typed::ToolUse { id: id.clone(), name: Text::Borrowed(&call.name), input, cache_control }), id))
    }

    fn result(&self, result: &'r ToolResult<'_>) -> Result<(Block<'r>, Text<'r>), Untranslatable> {
        let id = if self.is_own { Some(Text::Borrowed(result.call_id.as_ref())) } else { self.ids.of_result(&result.call_id) };
        let Some(id) = id else {
            return self.refuse(format!("the result of '{}' has no call before it", result.call_id));
        };
        let mut content = Vec::with_capacity(result.content.len());
        for part in &result.content {
            match part {
                Part::Text { text, citations, cache, .. } => content.extend(text_block(text, citations, cache.map(CacheControl::from))),
                Part::Media(media) => content.push(self.media(media)?),
                Part::Opaque { format: Format::Messages, raw } => content.push(Block::Raw(raw.clone())),
                Part::Refusal(_) | Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => {
                    return self.refuse("the result of a tool must be text, images and files");
                }
            }
        }
        let cache_control = result.cache.map(CacheControl::from);
        let block = Typed::ToolResult { tool_use_id: id.clone(), content: Content(content), is_error: result.is_error, cache_control };
        Ok((Block::Typed(block), id))
    }

    fn media(&self, media: &'r Media<'_>) -> Result<Block<'r>, Untranslatable> {
        let cache_control = media.cache.map(CacheControl::from);
        Ok(Block::Typed(match media.kind {
            MediaKind::Image => Typed::Image { source: self.image(media)?, cache_control },
            MediaKind::Document => {
                Typed::Document { source: self.document(media)?, title: media.name.as_deref().map(Text::Borrowed), cache_control }
            }
            MediaKind::Audio => return self.refuse("this provider takes no audio"),
        }))
    }

    fn image(&self, media: &'r Media<'_>) -> Result<BodySource<'r>, Untranslatable> {
        let Source::Base64(data) = &media.source else { return self.stored(media) };
        let mime = match media.mime.as_deref() {
            Some("image/jpg") => Some("image/jpeg"),
            Some(mime) => Some(mime).filter(|mime| self.is_own || IMAGES.contains(mime)),
            None => BEGINNINGS.iter().find(|(beginning, _)| data.starts_with(beginning)).map(|(_, mime)| *mime),
        };
        match mime {
            Some(mime) => Ok(BodySource::Base64 { media_type: mime.into(), data: Text::Borrowed(data) }),
            None => self.refuse("an image must be of the type image/jpeg, image/png, image/gif or image/webp"),
        }
    }

    fn document(&self, media: &'r Media<'_>) -> Result<BodySource<'r>, Untranslatable> {
        match &media.source {
            Source::Base64(data) if self.is_own || media.mime.as_deref().is_none_or(|mime| mime == "application/pdf") => {
                let media_type = Text::Borrowed(media.mime.as_deref().unwrap_or("application/pdf"));
                Ok(BodySource::Base64 { media_type, data: Text::Borrowed(data) })
            }
            Source::Base64(_) => self.refuse("a file must be a PDF; send other text as text"),
            Source::Text(text) => Ok(BodySource::Text { media_type: "text/plain", data: Text::Borrowed(text) }),
            Source::Url(_) | Source::File { .. } => self.stored(media),
        }
    }

    /// Writes media that are stored elsewhere.
    fn stored(&self, media: &'r Media<'_>) -> Result<BodySource<'r>, Untranslatable> {
        match &media.source {
            Source::Url(url) if self.is_own || url.starts_with("https://") || url.starts_with("http://") => {
                Ok(BodySource::Url { url: Text::Borrowed(url) })
            }
            Source::Url(_) => self.refuse("an address must begin with https://"),
            Source::File { format: Format::Messages, id } => Ok(BodySource::File { file_id: Text::Borrowed(id) }),
            Source::File { .. } => self.refuse("it names a file that is stored at another provider; send the file itself"),
            Source::Base64(_) | Source::Text(_) => self.refuse("an image must be sent as base64 or by its address"),
        }
    }
}

/// Writes a text; nothing for one that is empty or only whitespace, which Anthropic refuses. References that another vendor made are left
/// out, because Anthropic takes back only its own.
fn text_block<'r>(text: &'r str, citations: &'r [Citation<'_>], cache_control: Option<CacheControl>) -> Option<Block<'r>> {
    let own = |citation: &'r Citation<'_>| match citation {
        Citation::Opaque { format: Format::Messages, raw } => Some(raw.clone()),
        Citation::Opaque { .. } | Citation::Url { .. } => None,
    };
    let citations = citations.iter().filter_map(own).collect();
    (!text.trim().is_empty()).then(|| Block::Typed(Typed::Text { text: text.into(), citations, cache_control }))
}

/// Writes reasoning that Anthropic signed or encrypted; nothing for any other, which it would refuse.
fn thoughts<'r>(reasoning: &'r Reasoning<'_>) -> impl Iterator<Item = Block<'r>> {
    let own = |signature: &'r Option<Signature<'_>>| {
        signature
            .as_ref()
            .filter(|signature| signature.vendor == Vendor::Anthropic)
            .map(|signature| Text::Borrowed(signature.data.as_ref()))
    };
    let thinking = own(&reasoning.signature).map(|signature| Typed::Thinking { thinking: Text::Borrowed(&reasoning.text), signature });
    let redacted = own(&reasoning.encrypted).map(|data| Typed::RedactedThinking { data });
    thinking.into_iter().chain(redacted).map(Block::Typed)
}

/// The ids of calls, rewritten to be valid and unique: Anthropic takes each once in a conversation, and only letters, digits, `_` and `-`.
#[derive(Default)]
struct Ids<'r> {
    /// The latest id that each of the caller's ids became.
    written: HashMap<&'r str, Text<'r>>,
    used: HashSet<Text<'r>>,
    /// The last number that made an id unique. It only rises, so that a number is tried once.
    number: u64,
}

impl<'r> Ids<'r> {
    fn of_call(&mut self, id: &'r str) -> Text<'r> {
        let valid = valid_id(id);
        let mut unique = valid.clone();
        while !self.used.insert(unique.clone()) {
            self.number += 1;
            unique = format!("{valid}_{}", self.number).into();
        }
        self.written.insert(id, unique.clone());
        unique
    }

    fn of_result(&self, id: &str) -> Option<Text<'r>> {
        self.written.get(id).cloned()
    }
}

/// Returns an id if it is valid, or a valid one that is always the same.
fn valid_id(id: &str) -> Text<'_> {
    let is_valid = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !id.is_empty() && id.chars().all(is_valid) {
        return id.into();
    }
    let letters: String = id.chars().take(40).map(|letter| if is_valid(letter) { letter } else { '_' }).collect();
    // FNV-1a keeps ids apart that differ only in the replaced letters.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{letters}_{hash:016x}").into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
        Turn { role, parts, name: None }
    }

    fn call(id: &'static str, arguments: &'static str) -> Part<'static> {
        let (id, name, arguments) = (id.into(), "f".into(), arguments.into());
        Part::ToolCall(ToolCall { id, name, arguments, is_custom: false, signature: None, cache: None })
    }

    fn result(id: &'static str) -> Part<'static> {
        let content = vec![Part::text("r"), Part::text(" \n")];
        Part::ToolResult(ToolResult { call_id: id.into(), name: None, content, is_error: false, is_custom: false, cache: None })
    }

    fn media(kind: MediaKind, source: Source<'static>, mime: Option<&'static str>) -> Part<'static> {
        Part::Media(Media { kind, source, mime: mime.map(Text::Borrowed), name: None, detail: None, cache: None })
    }

    fn of(turns: Vec<Turn<'static>>) -> Result<Value, Untranslatable> {
        let request = Request { turns, ..Request::new(Format::Responses) };
        let all = Conversation::of(&request)?;
        Ok(json!({"system": all.system, "messages": all.messages}))
    }

    fn refused(turns: Vec<Turn<'static>>) -> Untranslatable {
        let error = of(turns).unwrap_err();
        assert_eq!(error.field, "input", "the caller's name of the conversation");
        error
    }

    fn user(part: Part<'static>) -> Turn<'static> {
        turn(Role::User, vec![part])
    }

    #[test]
    fn system_turns_are_folded_and_neighbours_merged() {
        let all = of(vec![
            turn(Role::Developer, vec![Part::text("a")]),
            user(Part::text("b")),
            turn(Role::System, vec![Part::text("c")]),
            turn(Role::Assistant, vec![Part::text("  ")]),
            user(Part::text("d")),
            turn(Role::Assistant, vec![Part::Refusal("no".into())]),
        ]);
        let text = |text| json!({"type": "text", "text": text});
        assert_eq!(
            all.unwrap(),
            json!({"system": [text("a"), text("c")], "messages": [
                {"role": "user", "content": [text("b"), text("d")]}, {"role": "assistant", "content": "no"}]})
        );
    }

    #[test]
    fn results_come_first_and_empty_texts_are_left_out() {
        let all = of(vec![
            user(Part::text("x")),
            turn(Role::Assistant, vec![call("a", ""), call("b", r#"{"n":1}"#)]),
            user(Part::text("and")),
            user(result("b")),
            user(result("a")),
        ]);
        let of = |id| json!({"type": "tool_result", "tool_use_id": id, "content": "r"});
        let messages = &all.unwrap()["messages"];
        assert_eq!(messages[1]["content"][0]["input"], json!({}));
        assert_eq!(messages[2]["content"], json!([of("b"), of("a"), {"type": "text", "text": "and"}]));
    }

    #[test]
    fn every_call_is_answered_in_the_next_turn() {
        let call = || turn(Role::Assistant, vec![call("a", "{}")]);
        refused(vec![user(Part::text("x")), call()]);
        refused(vec![user(Part::text("x")), call(), user(Part::text("y"))]);
        refused(vec![user(result("a"))]);
        refused(vec![user(Part::text("x")), call(), user(result("a")), turn(Role::Assistant, vec![Part::text("y")]), user(result("a"))]);
        refused(vec![user(Part::text("x")), call(), turn(Role::User, vec![result("a"), result("a")])]);
        assert!(of(vec![user(Part::text("x")), call(), turn(Role::System, vec![Part::text("s")]), user(result("a"))]).is_ok());
    }

    #[test]
    fn ids_become_valid_and_unique_in_calls_and_results() {
        let all = of(vec![
            user(Part::text("x")),
            turn(Role::Assistant, vec![call("a.b", "{}"), call("a:b", "{}"), call("c", "{}")]),
            turn(Role::User, vec![result("a.b"), result("a:b"), result("c")]),
            turn(Role::Assistant, vec![call("c", "{}")]),
            user(result("c")),
        ])
        .unwrap();
        let id = |message: usize, block: usize, name: &str| all["messages"][message]["content"][block][name].as_str().unwrap().to_owned();
        let calls: Vec<String> = (0..3).map(|block| id(1, block, "id")).collect();
        assert_eq!(calls, (0..3).map(|block| id(2, block, "tool_use_id")).collect::<Vec<_>>());
        assert!(calls[0] != calls[1] && calls[0].starts_with("a_b_") && calls[2] == "c", "{calls:?}");
        assert!(calls.iter().all(|id| valid_id(id) == *id));
        assert_eq!((id(3, 0, "id"), id(4, 0, "tool_use_id")), ("c_1".to_owned(), "c_1".to_owned()));
    }

    #[test]
    fn arguments_are_objects() {
        for arguments in ["{", "[1]", "\"x\"", "null"] {
            refused(vec![user(Part::text("x")), turn(Role::Assistant, vec![call("a", arguments)]), user(result("a"))]);
        }
    }

    #[test]
    fn only_anthropics_own_thoughts_go_back() {
        let of_vendor = |vendor| Some(Signature { vendor, data: "c2ln".into() });
        let thought = |signature, encrypted| Part::Reasoning(Reasoning { text: "t".into(), signature, encrypted, ..Reasoning::default() });
        let all = of(vec![
            user(Part::text("x")),
            turn(
                Role::Assistant,
                vec![
                    thought(None, None),
                    thought(of_vendor(Vendor::Google), of_vendor(Vendor::OpenAi)),
                    thought(of_vendor(Vendor::Anthropic), None),
                    thought(None, of_vendor(Vendor::Anthropic)),
                    Part::text("y"),
                ],
            ),
        ]);
        assert_eq!(
            all.unwrap()["messages"][1]["content"],
            json!([{"type": "thinking", "thinking": "t", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "c2ln"},
                {"type": "text", "text": "y"}])
        );
    }

    #[test]
    fn media_are_written_or_refused() {
        let content = |part| of(vec![user(part)]).unwrap()["messages"][0]["content"][0]["source"].clone();
        let url = || Source::Url("https://x/y".into());
        assert_eq!(content(media(MediaKind::Image, url(), None)), json!({"type": "url", "url": "https://x/y"}));
        assert_eq!(
            content(media(MediaKind::Image, Source::Base64("/9j/4AA".into()), None)),
            json!({"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AA"})
        );
        assert_eq!(content(media(MediaKind::Image, Source::Base64("x".into()), Some("image/jpg")))["media_type"], "image/jpeg");
        assert_eq!(
            content(media(MediaKind::Document, Source::Text("x".into()), None)),
            json!({"type": "text", "media_type": "text/plain", "data": "x"})
        );
        let file = |format| Source::File { format, id: "f".into() };
        assert_eq!(content(media(MediaKind::Document, file(Format::Messages), None)), json!({"type": "file", "file_id": "f"}));
        for part in [
            media(MediaKind::Audio, Source::Base64("x".into()), Some("audio/wav")),
            media(MediaKind::Image, Source::Base64("x".into()), Some("image/tiff")),
            media(MediaKind::Image, Source::Base64("x".into()), None),
            media(MediaKind::Image, Source::Url("gs://x".into()), None),
            media(MediaKind::Document, Source::Base64("x".into()), Some("text/csv")),
            media(MediaKind::Document, file(Format::Responses), None),
            Part::Opaque { format: Format::Responses, raw: crate::neutral::Json::parse("{}").unwrap() },
        ] {
            refused(vec![user(part)]);
        }
        refused(vec![user(Part::text("x")), turn(Role::Assistant, vec![media(MediaKind::Image, url(), None)])]);
        refused(vec![turn(Role::System, vec![media(MediaKind::Image, url(), None)]), user(Part::text("x"))]);
    }

    #[test]
    fn a_conversation_has_a_message() {
        refused(vec![]);
        refused(vec![turn(Role::System, vec![Part::text("s")])]);
        refused(vec![user(Part::text(" "))]);
    }
}
