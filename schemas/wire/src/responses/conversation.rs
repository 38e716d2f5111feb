//! The conversation of a request, written as input items.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Serialize;

use super::annotation::Annotation;
use super::tools;
use crate::call::Format;
use crate::neutral::{
    Json, Media, MediaKind, Part, Reasoning, Request, Role, Signature, Source, ToolCall, ToolResult, Turn, Untranslatable, Vendor,
};

/// The maximum length of a call's id. Source: OpenAI's error messages.
const CALL_ID_BYTES_MAX: usize = 64;
/// The text in front of a result that is an error; this format has no field for it.
const ERROR_MARK: &str = "Error:";
/// The name of a document whose caller gave none; this format requires one beside its bytes.
const FILE_NAME: &str = "document.pdf";

/// A written conversation.
#[derive(Debug)]
pub struct Conversation<'a> {
    pub instructions: Option<&'a str>,
    pub items: Vec<Item<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item<'a> {
    Message {
        role: &'static str,
        content: Content<'a>,
    },
    FunctionCall {
        call_id: Cow<'a, str>,
        name: &'a str,
        arguments: &'a str,
    },
    CustomToolCall {
        call_id: Cow<'a, str>,
        name: &'a str,
        input: &'a str,
    },
    FunctionCallOutput {
        call_id: Cow<'a, str>,
        output: Content<'a>,
    },
    CustomToolCallOutput {
        call_id: Cow<'a, str>,
        output: Content<'a>,
    },
    Reasoning {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        summary: Vec<Thought<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Thought<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<&'a str>,
    },
    #[serde(untagged)]
    Opaque(&'a Json<'a>),
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Content<'a> {
    Text(&'a str),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentPart<'a> {
    InputText {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<Breakpoint>,
    },
    OutputText {
        text: &'a str,
        annotations: Vec<Annotation<'a>>,
    },
    Refusal {
        refusal: &'a str,
    },
    InputImage(File<'a>),
    InputFile(File<'a>),
}

/// The members of images and documents.
#[derive(Debug, Default, Serialize)]
pub struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    image_url: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_breakpoint: Option<Breakpoint>,
}

#[derive(Debug, Serialize)]
pub struct Breakpoint {
    mode: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Thought<'a> {
    SummaryText { text: &'a str },
    ReasoningText { text: &'a str },
}

/// Writes the conversation of a request.
pub fn write<'a>(request: &'a Request<'_>) -> Result<Conversation<'a>, Untranslatable> {
    let (instructions, turns) = match request.turns.split_first() {
        Some((Turn { role: Role::System, parts, name: None }, rest)) if !rest.is_empty() => match parts.as_slice() {
            [Part::Text { text, cache, .. }] if cache.is_none() || request.source != Format::Responses => (Some(text.as_ref()), rest),
            _ => (None, request.turns.as_slice()),
        },
        _ => (None, request.turns.as_slice()),
    };
    let calls = request.turns.iter().flat_map(|turn| &turn.parts);
    let custom = calls.filter_map(|part| if let Part::ToolCall(call) = part { call.is_custom.then_some(call.id.as_ref()) } else { None });
    let mut writer = Writer { source: request.source, custom: custom.collect(), items: Vec::new() };
    for turn in turns {
        writer.turn(turn)?;
    }
    Ok(Conversation { instructions, items: writer.items })
}

struct Writer<'a> {
    source: Format,
    /// The ids of the calls of custom tools.
    custom: HashSet<&'a str>,
    items: Vec<Item<'a>>,
}

impl<'a> Writer<'a> {
    fn is_own(&self) -> bool {
        self.source == Format::Responses
    }

    /// Returns the error for content that cannot be sent.
    fn refused(&self, reason: &'static str) -> Untranslatable {
        let field = match self.source {
            Format::Chat | Format::Messages => "messages",
            Format::Responses | Format::Embeddings(_) => "input",
            Format::Generate => "contents",
        };
        Untranslatable::new(field, reason)
    }

    fn turn(&mut self, turn: &'a Turn<'_>) -> Result<(), Untranslatable> {
        if turn.name.is_some() {
            return Err(self.refused("its API takes no 'name' of a speaker; write it into the text"));
        }
        let mut content = Vec::new();
        for part in &turn.parts {
            let item = match part {
                Part::Text { .. } | Part::Refusal(_) | Part::Media(_) => {
                    content.push(self.content_part(turn.role, part)?);
                    continue;
                }
                Part::Reasoning(reasoning) => {
                    self.message(turn.role, &mut content);
                    self.reasoning(reasoning)
                }
                Part::ToolCall(call) => Some(self.call(call)?),
                Part::ToolResult(result) => Some(self.result(result)?),
                Part::Opaque { format: Format::Responses, raw } => Some(Item::Opaque(raw)),
                Part::Opaque { format: Format::Chat | Format::Messages | Format::Generate | Format::Embeddings(_), .. } => {
                    return Err(self.refused("it has content that only its own vendor knows; leave that content out"));
                }
            };
            self.message(turn.role, &mut content);
            self.items.extend(item);
        }
        self.message(turn.role, &mut content);
        Ok(())
    }

    /// Appends the message that the collected parts make.
    fn message(&mut self, role: Role, parts: &mut Vec<ContentPart<'a>>) {
        if parts.is_empty() {
            return;
        }
        let role = match role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        self.items.push(Item::Message { role, content: content(std::mem::take(parts)) });
    }

    fn content_part(&self, role: Role, part: &'a Part<'_>) -> Result<ContentPart<'a>, Untranslatable> {
        let is_answer = role == Role::Assistant;
        match part {
            Part::Text { text, citations, cache, signature: _ } => Ok(if is_answer {
                ContentPart::OutputText { text, annotations: Annotation::all(citations, text) }
            } else {
                ContentPart::InputText { text, prompt_cache_breakpoint: self.breakpoint(cache.is_some()) }
            }),
            Part::Refusal(refusal) if is_answer => Ok(ContentPart::Refusal { refusal }),
            Part::Refusal(text) => Ok(ContentPart::InputText { text, prompt_cache_breakpoint: None }),
            Part::Media(_) if is_answer => Err(self.refused("its API takes images and files only from the user")),
            Part::Media(media) => self.media(media),
            Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning(_) | Part::Opaque { .. } => {
                Err(self.refused("a result of a tool may contain texts, images and files"))
            }
        }
    }

    /// Returns the cache's breakpoint. Only the caller of this format may know that the model takes one; others have automatic caching.
    fn breakpoint(&self, is_asked: bool) -> Option<Breakpoint> {
        (is_asked && self.is_own()).then_some(Breakpoint { mode: "explicit" })
    }

    fn media(&self, media: &'a Media<'_>) -> Result<ContentPart<'a>, Untranslatable> {
        let Media { kind, source, mime, name, detail, cache } = media;
        let mut file = File { detail: detail.as_deref(), prompt_cache_breakpoint: self.breakpoint(cache.is_some()), ..File::default() };
        let with_type = |data: &str, mime: &str| Some(Cow::Owned(format!("data:{mime};base64,{data}")));
        match source {
            Source::Url(url) if !self.is_own() && !url.starts_with("http://") && !url.starts_with("https://") => {
                return Err(self.refused("its API takes media from http and https addresses only"));
            }
            Source::File { format, .. } if !matches!(format, Format::Responses | Format::Chat) => {
                return Err(self.refused("a file that is stored at another vendor cannot be sent; send its bytes"));
            }
            Source::File { id, .. } => file.file_id = Some(id),
            Source::Base64(_) | Source::Url(_) | Source::Text(_) => {}
        }
        match kind {
            MediaKind::Audio => Err(self.refused("its API takes no audio")),
            MediaKind::Image => {
                // The detail is required, and `auto` is the default elsewhere.
                file.detail = file.detail.or_else(|| (!self.is_own()).then_some("auto"));
                file.image_url = match (source, mime.as_deref()) {
                    (Source::Base64(data), Some(mime)) => with_type(data, mime),
                    (Source::Base64(_) | Source::Text(_), _) => return Err(self.refused("name the type of each image, such as image/png")),
                    (Source::Url(url), _) => Some(Cow::Borrowed(url.as_ref())),
                    (Source::File { .. }, _) => None,
                };
                Ok(ContentPart::InputImage(file))
            }
            MediaKind::Document => {
                file.filename = name.as_deref();
                match (source, mime.as_deref()) {
                    (Source::Text(text), _) => {
                        return Ok(ContentPart::InputText { text, prompt_cache_breakpoint: file.prompt_cache_breakpoint });
                    }
                    (Source::Base64(data), None) if self.is_own() => file.file_data = Some(Cow::Borrowed(data.as_ref())),
                    (Source::Base64(data), mime) => {
                        file.file_data = with_type(data, mime.unwrap_or("application/pdf"));
                        file.filename = file.filename.or_else(|| (!self.is_own()).then_some(FILE_NAME));
                    }
                    (Source::Url(url), _) => file.file_url = Some(url),
                    (Source::File { .. }, _) => {}
                }
                Ok(ContentPart::InputFile(file))
            }
        }
    }

    fn call(&self, call: &'a ToolCall<'_>) -> Result<Item<'a>, Untranslatable> {
        let ToolCall { id, name, arguments, is_custom, signature: _, cache: _ } = call;
        if !self.is_own() {
            tools::check_name(name)?;
        }
        let call_id = call_id(id);
        Ok(match is_custom {
            true => Item::CustomToolCall { call_id, name, input: arguments },
            false if arguments.is_empty() => Item::FunctionCall { call_id, name, arguments: "{}" },
            false => Item::FunctionCall { call_id, name, arguments },
        })
    }

    fn result(&self, result: &'a ToolResult<'_>) -> Result<Item<'a>, Untranslatable> {
        let mut parts = result.content.iter().map(|part| self.content_part(Role::User, part)).collect::<Result<Vec<_>, _>>()?;
        if result.is_error && !self.is_own() {
            parts.insert(0, ContentPart::InputText { text: ERROR_MARK, prompt_cache_breakpoint: None });
        }
        let output = if parts.is_empty() { Content::Text("") } else { content(parts) };
        let is_custom = result.is_custom || self.custom.contains(result.call_id.as_ref());
        let call_id = call_id(&result.call_id);
        Ok(if is_custom { Item::CustomToolCallOutput { call_id, output } } else { Item::FunctionCallOutput { call_id, output } })
    }

    /// Returns the item of earlier reasoning; `None` if it joins the item before, or if it is another vendor's, which OpenAI cannot read.
    fn reasoning(&mut self, reasoning: &'a Reasoning<'_>) -> Option<Item<'a>> {
        let Reasoning { text, is_summary, signature, encrypted, id } = reasoning;
        let proofs = || [encrypted, signature].into_iter().flatten();
        let native = proofs().find(|proof| proof.vendor == Vendor::OpenAi).map(|Signature { data, .. }| data.as_ref());
        if native.is_none() && (!self.is_own() || proofs().next().is_some()) {
            return None;
        }
        let thought = (!text.is_empty()).then_some(text.as_ref());
        // Text from other formats is a summary: OpenAI shows nothing else of its models' reasoning.
        let (summary, content) = if *is_summary || !self.is_own() { (thought, None) } else { (None, thought) };
        let summary = summary.map(|text| Thought::SummaryText { text });
        let content = content.map(|text| Thought::ReasoningText { text });
        if let Some(Item::Reasoning { id: before @ Some(_), summary: summaries, content: contents, encrypted_content }) =
            self.items.last_mut()
            && *before == id.as_deref()
            && encrypted_content.is_none()
        {
            summaries.extend(summary);
            contents.extend(content);
            *encrypted_content = native;
            return None;
        }
        Some(Item::Reasoning {
            id: id.as_deref(),
            summary: summary.into_iter().collect(),
            content: content.into_iter().collect(),
            encrypted_content: native,
        })
    }
}

/// Returns a single plain text as a string, and anything else as parts.
fn content(mut parts: Vec<ContentPart<'_>>) -> Content<'_> {
    match (parts.len(), parts.pop()) {
        (1, Some(ContentPart::InputText { text, prompt_cache_breakpoint: None })) => Content::Text(text),
        (1, Some(ContentPart::OutputText { text, annotations })) if annotations.is_empty() => Content::Text(text),
        (_, last) => {
            parts.extend(last);
            Content::Parts(parts)
        }
    }
}

/// Returns the id of a call in OpenAI's length. A longer one is cut, and ends in its hash.
fn call_id(id: &str) -> Cow<'_, str> {
    if id.len() <= CALL_ID_BYTES_MAX {
        return Cow::Borrowed(id);
    }
    // FNV-1a, 64 bits.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let head: String = id.chars().filter(char::is_ascii).take(40).collect();
    Cow::Owned(format!("{head}_{hash:016x}"))
}
