//! The places inside items whose text arrives in pieces.

/// The treatment of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Message,
    Reasoning,
    Call,
    /// An item that is read when it is complete.
    Whole,
}

/// A place for text inside an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub area: Area,
    /// The number of the part among those of its kind.
    pub index: u64,
}

/// A kind of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    Text,
    Refusal,
    Summary,
    Thought,
    Arguments,
}

impl Area {
    /// Returns the area that an event or a part of an item is about.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "response.output_text" | "output_text" => Some(Self::Text),
            "response.refusal" | "refusal" => Some(Self::Refusal),
            "response.reasoning_summary_text" | "response.reasoning_summary_part" => Some(Self::Summary),
            "response.reasoning_text" | "reasoning_text" => Some(Self::Thought),
            "response.function_call_arguments" | "response.custom_tool_call_input" => Some(Self::Arguments),
            _ => None,
        }
    }

    /// Returns the member that holds the complete text in the event behind the last piece.
    pub const fn text_member(self) -> &'static str {
        match self {
            Self::Text | Self::Summary | Self::Thought => "text",
            Self::Refusal => "refusal",
            Self::Arguments => "arguments",
        }
    }

    /// Returns the kind of the items that have such text.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Text | Self::Refusal => Kind::Message,
            Self::Summary | Self::Thought => Kind::Reasoning,
            Self::Arguments => Kind::Call,
        }
    }
}
