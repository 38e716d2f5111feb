//! The envelope of every event: CloudEvents 1.0, structured JSON.
//!
//! Source: CloudEvents 1.0.2 and its sequence extension. `sequence` counts from 1 without a gap per source **and stream**, so that a reader
//! of one stream can prove by itself that it missed nothing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::rfc3339;
use crate::payload::Payload;

/// The publisher of events: `/gateway/{node}/{boot}` or `/ledger/{node}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source(pub String);

impl Source {
    /// Returns the source of one boot of a gateway; no later boot has the same source.
    #[must_use]
    pub fn gateway(node: &str, boot: &str) -> Self {
        Self(format!("/gateway/{node}/{boot}"))
    }
}

/// An event in transit. `D` is the payload: a type of this crate, or raw JSON if only the envelope matters.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Envelope<'a, D> {
    /// Always `1.0`.
    pub specversion: &'a str,
    /// A UUIDv7, which is also the `Nats-Msg-Id`.
    pub id: &'a str,
    /// The publisher; see [`Source`].
    pub source: &'a str,
    /// The event type, such as `arouter.usage.recorded.v1`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The id of the request, key or account that the event is about.
    pub subject: &'a str,
    /// The time in RFC 3339 with microseconds, UTC.
    pub time: &'a str,
    /// Always `application/json`.
    pub datacontenttype: &'a str,
    /// The schema's file name, such as `usage.recorded.v1.json`.
    pub dataschema: &'a str,
    /// The account whose money and data the event is about.
    pub account: &'a str,
    /// The W3C trace context, if the caller sent one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<&'a str>,
    pub data: D,
    /// The position within source and stream, decimal, from 1. It is written last: see [`Draft::write_unnumbered`].
    #[serde(skip_serializing_if = "str::is_empty")]
    pub sequence: &'a str,
}

/// An envelope whose payload is not decoded yet.
pub type RawEnvelope<'a> = Envelope<'a, &'a RawValue>;

/// The reason why bytes are not an event of the expected kind.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Bytes that are no envelope, or a payload that does not match its type.
    #[error("malformed event: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A sequence that is not a positive decimal number.
    #[error("malformed event: sequence is not a positive number")]
    Sequence,
}

impl<'a> RawEnvelope<'a> {
    /// Parses the envelope and leaves the payload as it is.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Decodes the payload as `D`.
    pub fn payload<D: DeserializeOwned>(&self) -> Result<D, EnvelopeError> {
        Ok(serde_json::from_str(self.data.get())?)
    }

    /// Returns the position within source and stream.
    ///
    /// # Errors
    /// Fails if the position is not a positive number.
    pub fn sequence_number(&self) -> Result<u64, EnvelopeError> {
        self.sequence.parse().ok().filter(|number| *number > 0).ok_or(EnvelopeError::Sequence)
    }
}

/// An event that has no place in its source's sequence yet.
#[derive(Debug)]
pub struct Draft<'a, P> {
    /// A UUIDv7.
    pub id: uuid::Uuid,
    /// The time of the event, microseconds since 1970.
    pub time_us: i64,
    /// The account whose money and data the event is about.
    pub account: &'a str,
    /// The id of the request, key or account that the event is about.
    pub subject: &'a str,
    /// The W3C trace context, if the caller sent one.
    pub traceparent: Option<&'a str>,
    pub payload: &'a P,
}

impl<P: Payload> Draft<'_, P> {
    /// Appends the event as JSON with its place in the sequence.
    pub fn write(&self, source: &Source, sequence: u64, into: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        self.write_unnumbered(source, into)?;
        number(sequence, into);
        Ok(())
    }

    /// Appends the event as JSON up to its place in the sequence, which [`number`] appends. So the code that assigns sequences has little
    /// to do while others wait for theirs.
    pub fn write_unnumbered(&self, source: &Source, into: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let mut id = uuid::Uuid::encode_buffer();
        let envelope = Envelope {
            specversion: "1.0",
            id: self.id.hyphenated().encode_lower(&mut id),
            source: &source.0,
            kind: P::KIND,
            subject: self.subject,
            time: &rfc3339(self.time_us),
            datacontenttype: "application/json",
            dataschema: P::SCHEMA,
            account: self.account,
            traceparent: self.traceparent,
            data: self.payload,
            sequence: "",
        };
        serde_json::to_writer(&mut *into, &envelope)?;
        // The closing brace follows the sequence.
        into.pop();
        Ok(())
    }
}

/// Completes an event that [`Draft::write_unnumbered`] began, with its place in the sequence.
pub fn number(sequence: u64, into: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = sequence;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    into.extend_from_slice(b",\"sequence\":\"");
    into.extend_from_slice(&digits[at..]);
    into.extend_from_slice(b"\"}");
}
