//! A segment: compressed lines of events, and the manifest that describes them.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use events::ids::hex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::record::{Checkpoint, Record};

/// The description of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub stream: String,
    /// The place in the chain, from 1.
    pub number: u64,
    /// The incarnation of the stream: its creation time.
    pub identity: String,
    /// The sequence of the first event.
    pub first: u64,
    /// The sequence of the last event.
    pub last: u64,
    /// The id of the last event.
    pub last_id: String,
    /// The number of events.
    pub count: u64,
    /// The time at which it was written, in microseconds since 1970.
    pub archived_at_us: i64,
    /// The name of the file with the events.
    pub file: String,
    /// The SHA-256 of that file.
    pub sha256: String,
    /// The SHA-256 of the manifest before; empty for the first.
    pub previous: String,
}

impl Manifest {
    /// Returns the position of a reader that has read the whole segment.
    #[must_use]
    pub fn end(&self) -> Checkpoint {
        Checkpoint { identity: self.identity.clone(), sequence: self.last, event_id: self.last_id.clone() }
    }
}

/// An event as a line: its JSON unchanged, or its bytes if it is not JSON on one line.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    sequence: u64,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    event: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    bytes: Option<String>,
}

/// Appends an event as a line.
pub fn write(record: &Record, lines: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let event = serde_json::from_slice::<&RawValue>(&record.payload).ok().filter(|raw| is_one_line(raw, &record.payload));
    let bytes = event.is_none().then(|| BASE64_STANDARD.encode(&record.payload));
    serde_json::to_writer(&mut *lines, &Line { sequence: record.sequence, id: Cow::Borrowed(&record.id), event, bytes })?;
    lines.push(b'\n');
    Ok(())
}

/// Returns whether a line preserves the JSON byte for byte.
fn is_one_line(raw: &RawValue, payload: &[u8]) -> bool {
    raw.get().len() == payload.len() && !payload.contains(&b'\n')
}

/// Parses the events of lines.
///
/// # Errors
/// Fails with one sentence if a line is malformed.
pub fn read(lines: &[u8]) -> Result<Vec<Record>, String> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let line: Line<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
            let payload = match (line.event, line.bytes) {
                (Some(event), _) => event.get().as_bytes().to_vec(),
                (None, Some(bytes)) => BASE64_STANDARD.decode(bytes).map_err(|error| error.to_string())?,
                (None, None) => return Err(format!("event {} has no content", line.sequence)),
            };
            Ok(Record { sequence: line.sequence, id: line.id.into_owned(), payload: payload.into() })
        })
        .collect()
}

/// Returns the SHA-256 of bytes in hexadecimal.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_byte_for_byte_whatever_they_are() {
        let payloads: [&[u8]; 5] = [br#"{"a": 1,  "b":"x"}"#, b" {\"a\":1}", b"{\"a\":\n1}", b"no JSON", &[0xff, 0, b'\n']];
        let mut lines = Vec::new();
        let records: Vec<Record> = payloads
            .iter()
            .zip(1..)
            .map(|(payload, sequence)| Record { sequence, id: format!("e\"{sequence}"), payload: payload.to_vec().into() })
            .collect();
        for record in &records[..1] {
            write(record, &mut lines).unwrap();
        }
        assert_eq!(String::from_utf8(lines.clone()).unwrap(), "{\"sequence\":1,\"id\":\"e\\\"1\",\"event\":{\"a\": 1,  \"b\":\"x\"}}\n");
        for record in &records[1..] {
            write(record, &mut lines).unwrap();
        }
        let payloads = |records: &[Record]| {
            records.iter().map(|record| (record.sequence, record.id.clone(), record.payload.clone())).collect::<Vec<_>>()
        };
        assert_eq!(payloads(&read(&lines).unwrap()), payloads(&records));
    }
}
