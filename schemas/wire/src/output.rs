//! The stream that a client reads: frames of the provider's format passed on, or translated by a reader and a writer.

use crate::call::Format;
use bytes::Bytes;

use crate::answer::{AnswerError, Chunk, End, Frame, Names, Passing, Piece, read_frame};
use crate::neutral::Event;
use crate::{chat, generate, messages, responses};

/// The writer of a stream for a client.
#[derive(Debug)]
pub enum Output {
    /// The client speaks the provider's format.
    Same {
        format: Format,
        /// The frame that is kept for the end.
        kept: Option<Bytes>,
        /// The number of the open content block; only Messages needs it.
        open_block: Option<u64>,
    },
    /// The client speaks another format.
    Translated(Box<Translator>),
}

/// A reader and a writer of different formats.
#[derive(Debug)]
pub struct Translator {
    reader: Reader,
    writer: Writer,
}

/// The reader of a provider's frames into events.
#[derive(Debug)]
pub enum Reader {
    Chat(chat::stream::Reader),
    Responses(responses::stream::Reader),
    Messages(messages::stream::Reader),
    Generate(generate::stream::Reader),
}

/// The writer of events as frames for a client.
#[derive(Debug)]
pub enum Writer {
    Chat(chat::stream::Writer),
    Responses(responses::stream::Writer),
    Messages(messages::stream::Writer),
    Generate(generate::stream::Writer),
}

impl Reader {
    /// Creates a reader of a format; embeddings are never streamed.
    #[must_use]
    pub fn new(format: Format) -> Self {
        match format {
            Format::Chat | Format::Embeddings(_) => Self::Chat(chat::stream::Reader::default()),
            Format::Responses => Self::Responses(responses::stream::Reader::default()),
            Format::Messages => Self::Messages(messages::stream::Reader::default()),
            Format::Generate => Self::Generate(generate::stream::Reader::default()),
        }
    }

    /// Reads the data of one frame, and appends its events.
    ///
    /// # Errors
    /// Fails if the data is not a frame of the format.
    pub fn read<'a>(&mut self, data: &'a [u8], events: &mut Vec<Event<'a>>) -> Result<(), AnswerError> {
        match self {
            Self::Chat(reader) => reader.read(data, events),
            Self::Responses(reader) => reader.read(data, events),
            Self::Messages(reader) => reader.read(data, events),
            Self::Generate(reader) => reader.read(data, events),
        }
    }

    /// Appends the events that end what is still open.
    pub fn finish(&mut self, events: &mut Vec<Event<'_>>) {
        match self {
            Self::Chat(reader) => reader.finish(events),
            Self::Generate(reader) => reader.finish(events),
            Self::Responses(_) | Self::Messages(_) => {}
        }
    }
}

impl Writer {
    /// Creates a writer of a format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        match format {
            Format::Chat | Format::Embeddings(_) => Self::Chat(chat::stream::Writer::default()),
            Format::Responses => Self::Responses(responses::stream::Writer::default()),
            Format::Messages => Self::Messages(messages::stream::Writer::default()),
            Format::Generate => Self::Generate(generate::stream::Writer::default()),
        }
    }

    /// Writes an event.
    pub fn write(&mut self, event: &Event<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        match self {
            Self::Chat(writer) => writer.write(event, names, into),
            Self::Responses(writer) => writer.write(event, names, into),
            Self::Messages(writer) => writer.write(event, names, into),
            Self::Generate(writer) => writer.write(event, names, into),
        }
    }

    /// Writes the end: the finish, the usage and the end mark, or the error.
    pub fn end(&mut self, end: &End<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        match self {
            Self::Chat(writer) => writer.end(end, names, into),
            Self::Responses(writer) => writer.end(end, names, into),
            Self::Messages(writer) => writer.end(end, names, into),
            Self::Generate(writer) => writer.end(end, names, into),
        }
    }
}

impl Output {
    /// Creates the writer of a stream from a provider's format to a client's.
    #[must_use]
    pub fn new(from: Format, to: Format) -> Self {
        if from == to {
            return Self::Same { format: to, kept: None, open_block: None };
        }
        Self::translated(from, to)
    }

    /// Creates a writer that goes through the neutral form, even in one format.
    #[must_use]
    pub fn translated(from: Format, to: Format) -> Self {
        Self::Translated(Box::new(Translator { reader: Reader::new(from), writer: Writer::new(to) }))
    }

    /// Writes a frame of the provider for the client.
    ///
    /// # Errors
    /// Fails if the frame is not of the provider's format.
    pub fn relay(&mut self, frame: &Bytes, chunk: &Chunk<'_>, names: &Names<'_>, into: &mut Vec<u8>) -> Result<(), AnswerError> {
        match self {
            Self::Same { format, kept, open_block } => {
                match chunk.passing {
                    Passing::Relayed => chunk.write(names, into),
                    Passing::Held => {
                        if let Some(Frame::Chunk(before)) =
                            kept.replace(frame.clone()).as_ref().and_then(|before| read_frame(*format, before).ok())
                        {
                            before.write(names, into);
                        }
                    }
                    Passing::Metadata => {}
                }
                // Only Chat has a frame of its own for the usage, which any frame of the provider may carry.
                if *format == Format::Chat && chunk.usage.is_some() {
                    *kept = Some(frame.clone());
                }
                if let Piece::Messages(piece) = &chunk.piece {
                    *open_block = piece.open_block(*open_block);
                }
            }
            Self::Translated(translator) => {
                let Translator { reader, writer } = &mut **translator;
                let mut events = Vec::with_capacity(4);
                reader.read(frame, &mut events)?;
                for event in &events {
                    writer.write(event, names, into);
                }
            }
        }
        Ok(())
    }

    /// Writes the end of the stream.
    pub fn end(&mut self, end: &End<'_>, names: &Names<'_>, into: &mut Vec<u8>) {
        match self {
            Self::Same { format, kept, open_block } => match format {
                Format::Chat | Format::Embeddings(_) => chat::response::end(kept.as_ref(), end, names, into),
                Format::Responses => responses::stream::end(kept.as_ref(), end, names, into),
                Format::Messages => messages::stream::end(kept.as_ref(), *open_block, end, names, into),
                Format::Generate => generate::stream::end(kept.as_ref(), end, names, into),
            },
            Self::Translated(translator) => {
                let Translator { reader, writer } = &mut **translator;
                if !matches!(end, End::Error(_)) {
                    let mut events = Vec::new();
                    reader.finish(&mut events);
                    for event in &events {
                        writer.write(event, names, into);
                    }
                }
                writer.end(end, names, into);
            }
        }
    }
}

/// Returns the bytes that keep a silent stream open through proxies. Google's clients take a comment for data, but skip a blank line.
#[must_use]
pub const fn heartbeat(format: Format) -> &'static [u8] {
    match format {
        Format::Chat | Format::Responses | Format::Embeddings(_) => b": AROUTER PROCESSING\n\n",
        Format::Messages => b"event: ping\ndata: {\"type\": \"ping\"}\n\n",
        Format::Generate => b"\n",
    }
}
