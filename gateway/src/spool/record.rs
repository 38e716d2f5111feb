//! The record format: length, checksum, then stream, sequence, event id, subject and event.
//!
//! Little endian: `length u32 · crc32 u32 · stream u8 · sequence u64 · id [16] · subject length u16 · subject · event`. `length` counts the
//! bytes after the checksum. A length of zero marks the end of the filled part of an allocated file.

use events::envelope::number;
use events::subject::Stream;
use uuid::Uuid;

/// The bytes before the body.
pub const HEAD: usize = 8;
/// The maximum bytes of a record.
pub const RECORD_MAX: usize = 64 * 1024;
const FIXED: usize = 1 + 8 + 16 + 2;
/// The maximum bytes that the sequence takes at the end of an event.
const NUMBER_MAX: usize = 40;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The stream that the event is published to.
    pub stream: Stream,
    /// The sequence within its source and stream.
    pub sequence: u64,
    pub id: Uuid,
    /// The subject that the event is published under.
    pub subject: &'a str,
    pub event: &'a [u8],
    /// The bytes of the record on disk.
    pub size: usize,
}

/// The result of reading at an offset.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    Record(Record<'a>),
    /// The end of the written records.
    End,
    /// Bytes that are not a valid record: a torn write, or damage. Contains the bytes of the damaged record if its length field is
    /// plausible.
    Damaged(Option<usize>),
}

/// Appends a record. `event` is the event up to its sequence, which is appended here.
pub fn write(into: &mut Vec<u8>, stream: Stream, sequence: u64, id: Uuid, subject: &str, event: &[u8]) {
    let start = into.len();
    into.extend_from_slice(&[0; HEAD]);
    into.push(u8::try_from(stream.index()).unwrap_or(u8::MAX));
    into.extend_from_slice(&sequence.to_le_bytes());
    into.extend_from_slice(id.as_bytes());
    into.extend_from_slice(&u16::try_from(subject.len()).unwrap_or(u16::MAX).to_le_bytes());
    into.extend_from_slice(subject.as_bytes());
    into.extend_from_slice(event);
    number(sequence, into);
    let length = u32::try_from(into.len() - start - HEAD).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32fast::hash(&into[start + HEAD..]).to_le_bytes();
    into[start..start + 4].copy_from_slice(&length);
    into[start + 4..start + HEAD].copy_from_slice(&checksum);
}

/// Returns whether a record of this subject and unnumbered event is small enough for [`read`].
#[must_use]
pub const fn fits(subject: &str, event: &[u8]) -> bool {
    HEAD + FIXED + subject.len() + event.len() + NUMBER_MAX <= RECORD_MAX && subject.len() <= 1_024
}

/// Reads the record at the start of `bytes`, which must reach to the end of the file or hold at least [`RECORD_MAX`] bytes.
#[must_use]
pub fn read(bytes: &[u8]) -> Found<'_> {
    let u32_at = |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes);
    let (Some(length), Some(checksum)) = (u32_at(0), u32_at(4)) else {
        return Found::End;
    };
    if length == 0 {
        return Found::End;
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !(FIXED..=RECORD_MAX - HEAD).contains(&length) {
        return Found::Damaged(None);
    }
    let Some(body) = bytes.get(HEAD..HEAD + length) else {
        return Found::Damaged(None);
    };
    if crc32fast::hash(body) != checksum {
        return Found::Damaged(Some(HEAD + length));
    }
    parse(body).map_or(Found::Damaged(Some(HEAD + length)), Found::Record)
}

fn parse(body: &[u8]) -> Option<Record<'_>> {
    let (stream, rest) = body.split_first()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let (subject_len, rest) = rest.split_first_chunk::<2>()?;
    let (subject, event) = rest.split_at_checked(usize::from(u16::from_le_bytes(*subject_len)))?;
    Some(Record {
        stream: *Stream::ALL.get(usize::from(*stream))?,
        sequence: u64::from_le_bytes(*sequence),
        id: Uuid::from_bytes(*id),
        subject: std::str::from_utf8(subject).ok()?,
        event,
        size: HEAD + body.len(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one() -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, Stream::Usage, 7, Uuid::from_u128(9), "a.b", b"{\"a\":1");
        bytes
    }

    #[test]
    fn reads_what_it_wrote_and_stops_at_zeros() {
        let mut bytes = one();
        let size = bytes.len();
        bytes.extend_from_slice(&[0; 32]);
        let Found::Record(record) = read(&bytes) else { unreachable!("a record") };
        assert_eq!(
            (record.stream, record.sequence, record.subject, record.event, record.size),
            (Stream::Usage, 7, "a.b", &br#"{"a":1,"sequence":"7"}"#[..], size)
        );
        assert_eq!(read(&bytes[size..]), Found::End);
    }

    proptest! {
        #[test]
        fn every_flipped_bit_and_every_torn_tail_is_found(bit in 0_usize..8 * 62, cut in 1_usize..62) {
            let bytes = one();
            prop_assume!(bit < bytes.len() * 8 && cut < bytes.len());
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!matches!(read(&flipped), Found::Record(_)));
            prop_assert!(!matches!(read(&bytes[..cut]), Found::Record(_)));
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _found = read(&bytes);
        }
    }
}
