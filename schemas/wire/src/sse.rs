//! Server-sent events: the parser of a provider's stream. Source: WHATWG HTML, section 9.2.

use bytes::{Bytes, BytesMut};

/// The maximum size of a frame in bytes; a longer one is an attack or a mistake.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A byte order mark, which is allowed only before the first line.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A parser that splits incoming bytes into the data of each event. It drops comments and other fields.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: BytesMut,
    /// Whether the place for a byte order mark has passed.
    begun: bool,
    /// The length of the buffer's prefix that is known to contain no line end.
    scanned: usize,
    /// The data lines of the incomplete event.
    data: Option<BytesMut>,
}

/// The error for a frame larger than [`FRAME_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an SSE frame of more than {FRAME_BYTES_MAX} bytes")]
pub struct FrameTooLarge;

impl Parser {
    /// Appends incoming bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the data of the next complete event, without the line end; `None` if more bytes are needed.
    ///
    /// # Errors
    /// Fails if an event exceeds [`FRAME_BYTES_MAX`].
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameTooLarge> {
        if !self.begun {
            if self.buffer.len() < BOM.len() && BOM.starts_with(&self.buffer) {
                return Ok(None);
            }
            if self.buffer.starts_with(BOM) {
                drop(self.buffer.split_to(BOM.len()));
            }
            self.begun = true;
        }
        while let Some(line) = self.next_line() {
            if line.is_empty() {
                if let Some(data) = self.data.take() {
                    return Ok(Some(data.freeze()));
                }
                continue;
            }
            let Some(value) = line.strip_prefix(b"data:") else { continue };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match &mut self.data {
                None => self.data = Some(BytesMut::from(value)),
                Some(data) => {
                    data.extend_from_slice(b"\n");
                    data.extend_from_slice(value);
                }
            }
        }
        let pending = self.buffer.len() + self.data.as_ref().map_or(0, BytesMut::len);
        if pending > FRAME_BYTES_MAX { Err(FrameTooLarge) } else { Ok(None) }
    }

    /// Returns the data of a last event that the provider did not end with a blank line.
    pub fn finish(&mut self) -> Option<Bytes> {
        self.buffer.extend_from_slice(b"\n\n");
        self.next_frame().ok().flatten()
    }

    /// Returns the next line without its end, which is `\n`, `\r\n` or `\r`.
    fn next_line(&mut self) -> Option<BytesMut> {
        let found = memchr::memchr2(b'\n', b'\r', &self.buffer[self.scanned..]);
        let Some(end) = found.map(|offset| self.scanned + offset) else {
            self.scanned = self.buffer.len();
            return None;
        };
        let mut skip = 1;
        if self.buffer[end] == b'\r' {
            match self.buffer.get(end + 1) {
                Some(b'\n') => skip = 2,
                Some(_) => {}
                None => {
                    self.scanned = end;
                    return None;
                }
            }
        }
        let line = self.buffer.split_to(end);
        drop(self.buffer.split_to(skip));
        self.scanned = 0;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(chunks: &[&[u8]]) -> Vec<String> {
        let mut parser = Parser::default();
        let mut all = Vec::new();
        for chunk in chunks {
            parser.push(chunk);
            while let Some(frame) = parser.next_frame().unwrap() {
                all.push(String::from_utf8(frame.to_vec()).unwrap());
            }
        }
        all.extend(parser.finish().map(|frame| String::from_utf8(frame.to_vec()).unwrap()));
        all
    }

    const STREAM: &[u8] = b": hello\r\n\r\ndata: {\"a\":1}\n\nevent: x\ndata:one\ndata: two\n\nid: 3\r\ndata: last\r\n\r\ndata: [DONE]";

    #[test]
    fn reads_comments_joined_lines_and_all_line_ends() {
        assert_eq!(frames(&[STREAM]), ["{\"a\":1}", "one\ntwo", "last", "[DONE]"]);
    }

    #[test]
    fn a_line_end_of_two_bytes_may_be_cut() {
        let stream = b"data: a\r\ndata: b\r\r\ndata: c\r\n\r\n";
        for cut in 0..stream.len() {
            assert_eq!(frames(&[&stream[..cut], &stream[cut..]]), ["a\nb", "c"], "{cut}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_at_the_start_only() {
        let stream = b"\xef\xbb\xbfdata: \xef\xbb\xbfone\n\ndata: two\n\n";
        for cut in 0..stream.len() {
            assert_eq!(frames(&[&stream[..cut], &stream[cut..]]), ["\u{feff}one", "two"], "{cut}");
        }
    }

    #[test]
    fn a_frame_without_end_is_refused() {
        let mut parser = Parser::default();
        parser.push(&vec![b'a'; FRAME_BYTES_MAX + 1]);
        assert_eq!(parser.next_frame(), Err(FrameTooLarge));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(cut in 0..STREAM.len(), second in 0..STREAM.len()) {
            let (low, high) = (cut.min(second), cut.max(second));
            prop_assert_eq!(frames(&[&STREAM[..low], &STREAM[low..high], &STREAM[high..]]), frames(&[STREAM]));
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut parser = Parser::default();
            parser.push(&bytes);
            while let Ok(Some(_)) = parser.next_frame() {}
        }
    }
}
