//! The turns of a conversation, written as messages.

use serde::Serialize;

use super::bodies::{CallBody, ExtraBody};
use super::content::{ContentBody, PieceBody};
use super::raw::object;
use super::reasoning::{self, DetailPiece, is_detail, visible_text};
use crate::call::{Format, Target};
use crate::dialect::{Dialect, ReasoningHistory};
use crate::neutral::{Cache, Media, Part, Role, Text, ToolResult, Turn, Untranslatable};

/// The length of a call's id at a provider that takes only one length (Mistral; seen).
const SHORT_ID_CHARS: usize = 9;
/// The maximum length of a call's id (OpenAI's bound; seen).
const ID_CHARS_MAX: usize = 40;
/// The mark of a failed tool in the text of its result.
const ERROR_PREFIX: &str = "Error: ";

/// A message, or the bytes of one that only Chat knows.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum MessageBody<'a> {
    Known(Box<Known<'a>>),
    Raw(&'a crate::neutral::Json<'a>),
}

#[derive(Debug, Serialize)]
pub struct Known<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    content: ContentBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasoning_details: Vec<DetailPiece<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallBody<'a>>,
}

impl<'a> Known<'a> {
    fn new(role: &'static str, content: ContentBody<'a>) -> Self {
        Self {
            role,
            tool_call_id: None,
            name: None,
            content,
            refusal: None,
            reasoning_content: None,
            reasoning_details: Vec::new(),
            tool_calls: Vec::new(),
        }
    }
}

/// The writer of turns for one provider.
pub struct Messages<'a> {
    source: Format,
    dialect: &'a Dialect,
    /// Whether the model is Google's: only then its signatures go out.
    is_google: bool,
    all: Vec<MessageBody<'a>>,
}

/// Returns the caller's name of the conversation.
fn field(source: Format) -> &'static str {
    match source {
        Format::Chat | Format::Messages => "messages",
        Format::Responses | Format::Embeddings(_) => "input",
        Format::Generate => "contents",
    }
}

impl<'a> Messages<'a> {
    /// Writes turns as messages.
    ///
    /// # Errors
    /// Fails if a part cannot be said in Chat.
    pub fn of(turns: &'a [Turn<'a>], source: Format, target: &Target<'a>) -> Result<Vec<MessageBody<'a>>, Untranslatable> {
        let is_google = target.model.contains("gemini");
        let mut writer = Self { source, dialect: target.dialect, is_google, all: Vec::with_capacity(turns.len()) };
        for turn in turns {
            writer.turn(turn)?;
        }
        Ok(writer.all)
    }

    fn turn(&mut self, turn: &'a Turn<'a>) -> Result<(), Untranslatable> {
        if let [Part::Opaque { format: Format::Chat, raw }] = turn.parts.as_slice()
            && object(&raw.0).is_some_and(|message| message.get("role").is_some())
        {
            self.all.push(MessageBody::Raw(raw));
            return Ok(());
        }
        match turn.role {
            Role::Developer if self.dialect.has_developer_role => self.simple("developer", turn),
            Role::System | Role::Developer => self.simple("system", turn),
            Role::User => self.user(turn),
            Role::Assistant => self.assistant(turn),
        }
    }

    /// Returns the error for a part that Chat cannot say.
    fn refused(&self, obstacle: &'static str) -> Untranslatable {
        Untranslatable::new(field(self.source), obstacle)
    }

    fn push(&mut self, turn: &'a Turn<'a>, mut message: Known<'a>) {
        message.name = turn.name.as_deref().filter(|_| self.dialect.has_names);
        self.all.push(MessageBody::Known(Box::new(message)));
    }

    /// Returns the mark for a cache, if the provider knows such marks.
    fn cache(&self, cache: Option<Cache>) -> Option<Cache> {
        cache.filter(|_| self.dialect.has_cache_control)
    }

    fn simple(&mut self, role: &'static str, turn: &'a Turn<'a>) -> Result<(), Untranslatable> {
        let mut pieces = Vec::with_capacity(turn.parts.len());
        for part in &turn.parts {
            match part {
                Part::Text { text, cache, .. } => self.add_text(text, *cache, &mut pieces),
                Part::Opaque { format: Format::Chat, raw } => pieces.push(PieceBody::Raw(raw)),
                Part::Refusal(_) | Part::Media(_) | Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => {
                    return Err(self.refused("its API takes only text as a system message"));
                }
            }
        }
        self.push(turn, Known::new(role, ContentBody::of(pieces)));
        Ok(())
    }

    /// Adds a text; an empty one says nothing.
    fn add_text(&self, text: &'a Text<'_>, cache: Option<Cache>, pieces: &mut Vec<PieceBody<'a>>) {
        if !text.is_empty() {
            pieces.push(PieceBody::text(Text::Borrowed(text.as_ref()), self.cache(cache)));
        }
    }

    fn media(&self, media: &'a Media<'_>) -> Result<PieceBody<'a>, Untranslatable> {
        PieceBody::media(media, self.cache(media.cache)).map_err(|obstacle| self.refused(obstacle))
    }

    /// Writes the results of tools as messages of their own, and the rest of the turn behind them.
    fn user(&mut self, turn: &'a Turn<'a>) -> Result<(), Untranslatable> {
        let mut pieces = Vec::with_capacity(turn.parts.len());
        let mut has_result = false;
        for part in &turn.parts {
            match part {
                Part::ToolResult(result) => {
                    has_result = true;
                    self.result(result, &mut pieces)?;
                }
                Part::Text { text, cache, .. } => self.add_text(text, *cache, &mut pieces),
                Part::Media(media) => pieces.push(self.media(media)?),
                Part::Opaque { format: Format::Chat, raw } => pieces.push(PieceBody::Raw(raw)),
                Part::Opaque { .. } => return Err(self.refused("it contains a part that only its own vendor knows")),
                Part::Refusal(_) | Part::ToolCall(_) | Part::Reasoning(_) => {
                    return Err(self.refused("a user's turn contains what only a model writes"));
                }
            }
        }
        if !has_result || !pieces.is_empty() {
            self.push(turn, Known::new("user", ContentBody::of(pieces)));
        }
        Ok(())
    }

    /// Writes the result of a tool. Its images and files go into the user's message that follows.
    fn result(&mut self, result: &'a ToolResult<'_>, after: &mut Vec<PieceBody<'a>>) -> Result<(), Untranslatable> {
        let id = self.call_id(&result.call_id);
        let mut texts = Vec::with_capacity(result.content.len());
        let mut media = Vec::new();
        for part in &result.content {
            match part {
                Part::Text { text, .. } => self.add_text(text, None, &mut texts),
                Part::Media(one) => media.push(self.media(one)?),
                Part::Opaque { format: Format::Chat, raw } => texts.push(PieceBody::Raw(raw)),
                Part::Refusal(_) | Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => {
                    return Err(self.refused("the result of a tool contains a part that only its own vendor knows"));
                }
            }
        }
        if !media.is_empty() {
            if texts.is_empty() {
                texts.push(PieceBody::text("The result follows in the next message.".into(), None));
            }
            after.push(PieceBody::text(format!("The result of the call {id}:").into(), None));
            after.append(&mut media);
        }
        let says_error = matches!(result.content.first(), Some(Part::Text { text, .. }) if text.starts_with(ERROR_PREFIX.trim_end()));
        if result.is_error && !says_error {
            texts = failed(texts);
        }
        if let Some(cache) = self.cache(result.cache)
            && let Some(last) = texts.pop()
        {
            texts.push(match last.into_plain() {
                Ok(text) => PieceBody::text(text, Some(cache)),
                Err(other) => other,
            });
        }
        let name = result.name.as_deref().filter(|_| self.dialect.has_names && self.source == Format::Chat);
        let message = Known { tool_call_id: Some(id), name, ..Known::new("tool", ContentBody::of(texts)) };
        self.all.push(MessageBody::Known(Box::new(message)));
        Ok(())
    }

    fn assistant(&mut self, turn: &'a Turn<'a>) -> Result<(), Untranslatable> {
        let mut message = Known::new("assistant", ContentBody::Null);
        let mut pieces = Vec::with_capacity(turn.parts.len());
        for part in &turn.parts {
            match part {
                Part::Text { text, cache, .. } => self.add_text(text, *cache, &mut pieces),
                Part::Refusal(text) => message.refusal.get_or_insert_default().to_mut().push_str(text),
                Part::ToolCall(call) => {
                    let signature = call.signature.as_ref().filter(|_| self.is_google).and_then(ExtraBody::of);
                    message.tool_calls.push(CallBody { extra_content: signature, ..CallBody::whole(call, self.call_id(&call.id)) });
                }
                Part::Reasoning(_) => {}
                Part::Opaque { format: Format::Chat, raw } if is_detail(raw) => {}
                Part::Opaque { format: Format::Chat, raw } => pieces.push(PieceBody::Raw(raw)),
                Part::Opaque { .. } => return Err(self.refused("it contains a part that only its own vendor knows")),
                Part::Media(_) => return Err(self.refused("its API takes no images in the model's own turns")),
                Part::ToolResult(_) => return Err(self.refused("the result of a tool stands in a model's turn")),
            }
        }
        match self.dialect.reasoning {
            ReasoningHistory::Dropped => {}
            ReasoningHistory::Content => {
                let text = visible_text(&turn.parts);
                message.reasoning_content = text.or_else(|| (!message.tool_calls.is_empty()).then(Text::default));
            }
            ReasoningHistory::Details => message.reasoning_details = reasoning::details(&turn.parts, |id| self.call_id(id)),
        }
        let says_more = !message.tool_calls.is_empty() || message.refusal.is_some();
        let is_thought_only = !turn.parts.is_empty() && message.reasoning_details.is_empty() && message.reasoning_content.is_none();
        match (pieces.is_empty(), says_more) {
            (true, true) => {}
            (true, false) if is_thought_only => return Ok(()),
            _ => message.content = ContentBody::of(pieces),
        }
        self.push(turn, message);
        Ok(())
    }

    /// Returns the id of a call as the provider takes it: the same one for a call and its result.
    fn call_id(&self, id: &'a str) -> Text<'a> {
        if self.dialect.has_short_call_ids {
            let is_short = id.len() == SHORT_ID_CHARS && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return if is_short { id.into() } else { short_id(id).into() };
        }
        if id.len() > ID_CHARS_MAX && self.source != Format::Chat {
            return format!("call_{}", short_id(id)).into();
        }
        id.into()
    }
}

/// Marks the text of a failed tool's result.
fn failed(texts: Vec<PieceBody<'_>>) -> Vec<PieceBody<'_>> {
    let mut texts = texts.into_iter();
    let first = texts.next().map_or_else(|| Ok(Text::default()), PieceBody::into_plain);
    let mut all = match first {
        Ok(text) => vec![PieceBody::text(format!("{ERROR_PREFIX}{text}").into(), None)],
        Err(other) => vec![PieceBody::text(ERROR_PREFIX.into(), None), other],
    };
    all.extend(texts);
    all
}

/// Returns an id of nine letters and digits for any other id: FNV-1a, mixed by the finalizer of SplitMix64, in base 62.
fn short_id(id: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut rest = hash ^ (hash >> 31);
    let mut digit = || {
        let digit = usize::try_from(rest % 62).ok().and_then(|place| DIGITS.get(place)).copied().unwrap_or(b'0');
        rest /= 62;
        char::from(digit)
    };
    (0..SHORT_ID_CHARS).map(|_| digit()).collect()
}
