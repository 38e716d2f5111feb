//! The blocks of one choice of a stream: one is open, and those that begin before it is complete wait for its end.

use std::collections::VecDeque;

use crate::answer::AnswerError;
use crate::call::Format;
use crate::chat::neutral::made_id;
use crate::neutral::{Block, Citation, Delta, Event, Json, Signature, Text};

/// The maximum number of calls in one choice.
const CALLS_MAX: usize = 1_024;
/// The maximum number of blocks that wait for a call; for one more, the call ends as it is.
const WAITING_MAX: usize = 1_024;

/// The blocks of one choice.
#[derive(Debug)]
pub struct Blocks {
    choice: u32,
    open: Option<Key>,
    waiting: VecDeque<Waiting>,
    calls: Vec<Call>,
    /// The number of the latest reasoning or opaque block.
    latest: u32,
}

/// The identity of a block.
#[derive(Debug, Clone, PartialEq)]
enum Key {
    Text,
    Refusal,
    Reasoning(u32),
    Opaque(u32),
    Call(usize),
}

/// A block that waits, with what arrived of it.
#[derive(Debug)]
struct Waiting {
    key: Key,
    /// The beginning; that of a call is made when it opens, since its name may come late.
    block: Option<Block<'static>>,
    deltas: Vec<Delta<'static>>,
}

/// A call that began.
#[derive(Debug)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    is_custom: bool,
    is_closed: bool,
    arguments: Arguments,
}

/// A piece of a call as it arrives; texts are empty if they are absent.
#[derive(Debug)]
pub struct Piece<'a> {
    pub index: Option<u64>,
    pub id: Text<'a>,
    pub name: Text<'a>,
    pub arguments: Text<'a>,
    pub is_custom: bool,
    pub signature: Option<Signature<'a>>,
}

impl Blocks {
    /// Creates the blocks of a choice.
    pub const fn new(choice: u32) -> Self {
        Self { choice, open: None, waiting: VecDeque::new(), calls: Vec::new(), latest: 0 }
    }

    /// Returns the number of the choice.
    pub const fn choice(&self) -> u32 {
        self.choice
    }

    /// Returns whether any call began.
    pub const fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Adds to the text.
    pub fn text<'a>(&mut self, delta: Delta<'a>, events: &mut Vec<Event<'a>>) {
        self.add(&Key::Text, Block::Text, delta, events);
    }

    /// Adds to the refusal.
    pub fn refusal<'a>(&mut self, text: Text<'a>, events: &mut Vec<Event<'a>>) {
        self.add(&Key::Refusal, Block::Refusal, Delta::Text(text), events);
    }

    /// Returns whether the latest block is reasoning.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.last(), Some(Key::Reasoning(_)))
    }

    /// Begins a block of reasoning.
    pub fn begin_reasoning<'a>(&mut self, id: Option<Text<'a>>, is_summary: bool, events: &mut Vec<Event<'a>>) {
        self.latest += 1;
        self.begin(Key::Reasoning(self.latest), Some(Block::Reasoning { id, is_summary }), events);
    }

    /// Adds to the latest block of reasoning.
    pub fn reasoning<'a>(&mut self, delta: Delta<'a>, events: &mut Vec<Event<'a>>) {
        if let Some(key @ Key::Reasoning(_)) = self.last().cloned() {
            self.emit(&key, delta, events);
        }
    }

    /// Adds a block that comes whole.
    pub fn opaque<'a>(&mut self, raw: Json<'a>, events: &mut Vec<Event<'a>>) {
        self.latest += 1;
        self.begin(Key::Opaque(self.latest), Some(Block::Opaque { format: Format::Chat, raw }), events);
    }

    /// Adds a piece of a call; a new call begins a block.
    ///
    /// # Errors
    /// Fails if there are more calls than any model makes.
    pub fn call<'a>(&mut self, piece: Piece<'a>, events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        let place = match self.place(&piece) {
            Some(place) => place,
            None if piece.name.is_empty() && piece.id.is_empty() && piece.index.is_none() => return Ok(()),
            None => self.begin_call(&piece, events)?,
        };
        let Piece { name, arguments, is_custom, signature, .. } = piece;
        if let Some(call) = self.calls.get_mut(place)
            && call.name.is_empty()
        {
            call.name = name.into_owned();
            call.is_custom |= is_custom;
            self.advance(events);
        }
        let key = Key::Call(place);
        if let Some(signature) = signature {
            self.emit(&key, Delta::Signature(signature), events);
        }
        if let Some(call) = self.calls.get_mut(place).filter(|call| !call.is_closed && !arguments.is_empty()) {
            call.arguments.add(&arguments);
            self.emit(&key, Delta::Text(arguments), events);
            self.advance(events);
        }
        Ok(())
    }

    /// Puts a signature on the call with an id. Returns it if there is no such call that still takes one.
    pub fn sign<'a>(&mut self, id: &str, signature: Signature<'a>, events: &mut Vec<Event<'a>>) -> Option<Signature<'a>> {
        match self.calls.iter().position(|call| !call.is_closed && call.id == id) {
            None => Some(signature),
            Some(place) => {
                self.emit(&Key::Call(place), Delta::Signature(signature), events);
                None
            }
        }
    }

    /// Ends all blocks.
    pub fn finish(&mut self, events: &mut Vec<Event<'_>>) {
        while let Some(next) = self.waiting.pop_front() {
            self.open(next, events);
        }
        self.close(events);
    }

    /// Returns the call that a piece belongs to. Some servers leave out the index, or give every call the same one; some repeat the name, or
    /// make up another id for every piece.
    fn place(&self, piece: &Piece<'_>) -> Option<usize> {
        let is_named = !piece.name.is_empty();
        let found = match piece.index {
            Some(index) => self.calls.iter().rposition(|call| call.index == Some(index)),
            None if piece.id.is_empty() => self.calls.len().checked_sub(1),
            None => {
                let known = self.calls.iter().rposition(|call| call.id == piece.id);
                known.or_else(|| self.calls.len().checked_sub(1).filter(|_| !is_named))
            }
        };
        found.filter(|place| {
            let Some(call) = self.calls.get(*place) else { return false };
            let is_other_id = !piece.id.is_empty() && call.id != piece.id && !call.name.is_empty();
            let is_next = piece.id.is_empty() && call.arguments.is_complete() && !piece.arguments.is_empty();
            let is_other_name = piece.index.is_none() && piece.id.is_empty() && call.name != piece.name && !call.name.is_empty();
            !(is_named && (is_other_id || is_next || is_other_name))
        })
    }

    fn begin_call<'a>(&mut self, piece: &Piece<'a>, events: &mut Vec<Event<'a>>) -> Result<usize, AnswerError> {
        let place = self.calls.len();
        if place >= CALLS_MAX {
            return Err(AnswerError::Malformed);
        }
        let id = if piece.id.is_empty() { made_id(place, &piece.name).into_owned() } else { piece.id.to_string() };
        self.calls.push(Call {
            index: piece.index,
            id,
            name: piece.name.to_string(),
            is_custom: piece.is_custom,
            is_closed: false,
            arguments: Arguments::default(),
        });
        self.begin(Key::Call(place), None, events);
        Ok(place)
    }

    /// Returns the block that began last.
    fn last(&self) -> Option<&Key> {
        self.waiting.back().map(|waiting| &waiting.key).or(self.open.as_ref())
    }

    /// Adds to a block of text, which begins anew behind any other block.
    fn add<'a>(&mut self, key: &Key, block: Block<'a>, delta: Delta<'a>, events: &mut Vec<Event<'a>>) {
        if self.last() != Some(key) {
            self.begin(key.clone(), Some(block), events);
        }
        self.emit(key, delta, events);
    }

    fn begin<'a>(&mut self, key: Key, block: Option<Block<'a>>, events: &mut Vec<Event<'a>>) {
        self.waiting.push_back(Waiting { key, block: block.map(own_block), deltas: Vec::new() });
        self.advance(events);
        if self.waiting.len() > WAITING_MAX
            && let Some(next) = self.waiting.pop_front()
        {
            self.open(next, events);
        }
    }

    /// Opens the blocks whose turn has come.
    fn advance(&mut self, events: &mut Vec<Event<'_>>) {
        while self.open.as_ref().is_none_or(|open| self.is_complete(open))
            && let Some(next) = self.waiting.pop_front_if(|next| is_named(&self.calls, &next.key))
        {
            self.open(next, events);
        }
    }

    /// Returns whether a block may end when another one begins.
    fn is_complete(&self, key: &Key) -> bool {
        match key {
            Key::Text | Key::Refusal | Key::Reasoning(_) | Key::Opaque(_) => true,
            Key::Call(place) => self.calls.get(*place).is_none_or(|call| !call.is_custom && call.arguments.is_complete()),
        }
    }

    fn open(&mut self, next: Waiting, events: &mut Vec<Event<'_>>) {
        self.close(events);
        let Waiting { key, block, deltas } = next;
        let call = || match &key {
            Key::Call(place) => self.calls.get(*place),
            Key::Text | Key::Refusal | Key::Reasoning(_) | Key::Opaque(_) => None,
        };
        let begin = |call: &Call| Block::ToolCall { id: call.id.clone().into(), name: call.name.clone().into(), is_custom: call.is_custom };
        let choice = self.choice;
        if let Some(block) = block.or_else(|| call().map(begin)) {
            events.push(Event::BlockStart { choice, block });
            events.extend(deltas.into_iter().map(|delta| Event::Delta { choice, delta }));
            self.open = Some(key);
        }
    }

    fn close(&mut self, events: &mut Vec<Event<'_>>) {
        let Some(key) = self.open.take() else { return };
        events.push(Event::BlockEnd { choice: self.choice });
        if let Key::Call(place) = key
            && let Some(call) = self.calls.get_mut(place)
        {
            call.is_closed = true;
        }
    }

    /// Adds a piece to a block: at once if it is open, else to what waits of it.
    fn emit<'a>(&mut self, key: &Key, delta: Delta<'a>, events: &mut Vec<Event<'a>>) {
        if self.open.as_ref() == Some(key) && (self.waiting.is_empty() || matches!(key, Key::Call(_))) {
            events.push(Event::Delta { choice: self.choice, delta });
        } else if let Some(waiting) = self.waiting.iter_mut().rev().find(|waiting| waiting.key == *key) {
            waiting.deltas.push(own(delta));
        }
    }
}

/// Returns whether a block can be opened: a call needs its name.
fn is_named(calls: &[Call], key: &Key) -> bool {
    match key {
        Key::Text | Key::Refusal | Key::Reasoning(_) | Key::Opaque(_) => true,
        Key::Call(place) => calls.get(*place).is_some_and(|call| !call.name.is_empty()),
    }
}

/// The state of arguments as JSON, to know when they are complete.
#[derive(Debug, Default)]
struct Arguments {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
    is_ended: bool,
}

impl Arguments {
    fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            match (self.is_in_string, byte) {
                (true, _) if self.is_escaped => self.is_escaped = false,
                (true, b'\\') => self.is_escaped = true,
                (_, b'"') => self.is_in_string = !self.is_in_string,
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    self.is_ended = self.depth == 0;
                }
                (_, _) => {}
            }
        }
    }

    const fn is_complete(&self) -> bool {
        self.is_ended
    }
}

fn own_text(text: Text<'_>) -> Text<'static> {
    Text::Owned(text.into_owned())
}

/// Returns a signature without its borrowed bytes.
pub fn own_signature(signature: Signature<'_>) -> Signature<'static> {
    Signature { vendor: signature.vendor, data: own_text(signature.data) }
}

fn own_block(block: Block<'_>) -> Block<'static> {
    match block {
        Block::Text => Block::Text,
        Block::Refusal => Block::Refusal,
        Block::Reasoning { id, is_summary } => Block::Reasoning { id: id.map(own_text), is_summary },
        Block::ToolCall { id, name, is_custom } => Block::ToolCall { id: own_text(id), name: own_text(name), is_custom },
        Block::Opaque { format, raw } => Block::Opaque { format, raw: raw.into_owned() },
    }
}

fn own(delta: Delta<'_>) -> Delta<'static> {
    match delta {
        Delta::Text(text) => Delta::Text(own_text(text)),
        Delta::Signature(signature) => Delta::Signature(own_signature(signature)),
        Delta::Encrypted(data) => Delta::Encrypted(own_signature(data)),
        Delta::Citation(Citation::Url { url, title, start, end }) => {
            Delta::Citation(Citation::Url { url: own_text(url), title: title.map(own_text), start, end })
        }
        Delta::Citation(Citation::Opaque { format, raw }) => Delta::Citation(Citation::Opaque { format, raw: raw.into_owned() }),
        Delta::Logprobs(raw) => Delta::Logprobs(raw.into_owned()),
    }
}
