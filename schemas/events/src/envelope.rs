//! The envelope of every event: CloudEvents 1.0, structured JSON.
//!
//! Source: CloudEvents 1.0.2 and its sequence extension. `sequence` counts from 1 without a gap per source **and stream**, so
//! that a reader of one stream can prove by itself that it missed nothing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::rfc3339;
use crate::payload::Payload;

/// Who publishes: `/gateway/{node}/{boot}` or `/ledger/{node}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source(pub String);

impl Source {
    /// The source of one boot of a gateway; a boot never comes back.
    #[must_use]
    pub fn gateway(node: &str, boot: &str) -> Self {
        Self(format!("/gateway/{node}/{boot}"))
    }
}

/// An event as it travels. `D` is the payload: a type of this crate, or raw JSON when only the envelope matters.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Envelope<'a, D> {
    /// Always `1.0`.
    pub specversion: &'a str,
    /// UUIDv7; also the `Nats-Msg-Id`.
    pub id: &'a str,
    /// See [`Source`].
    pub source: &'a str,
    /// Such as `arouter.usage.recorded.v1`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// What it is about: a request's, key's or account's id.
    pub subject: &'a str,
    /// RFC 3339, microseconds, UTC.
    pub time: &'a str,
    /// Always `application/json`.
    pub datacontenttype: &'a str,
    /// The schema's file name, such as `usage.recorded.v1.json`.
    pub dataschema: &'a str,
    /// Whose money and data.
    pub account: &'a str,
    /// W3C trace context, when the caller sent one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<&'a str>,
    /// The payload.
    pub data: D,
    /// Position within source and stream, decimal, from 1. Written last: see [`Draft::write_unnumbered`].
    #[serde(skip_serializing_if = "str::is_empty")]
    pub sequence: &'a str,
}

/// An envelope whose payload is not decoded yet.
pub type RawEnvelope<'a> = Envelope<'a, &'a RawValue>;

/// Why bytes are not an event of the expected kind.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not an envelope, or its payload is not what its type says.
    #[error("malformed event: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The sequence is no positive decimal number.
    #[error("malformed event: sequence is not a positive number")]
    Sequence,
}

impl<'a> RawEnvelope<'a> {
    /// Reads the envelope and leaves the payload as it is.
    ///
    /// # Errors
    /// When the bytes are no envelope.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The payload as `D`.
    ///
    /// # Errors
    /// When the payload is not a `D`.
    pub fn payload<D: DeserializeOwned>(&self) -> Result<D, EnvelopeError> {
        Ok(serde_json::from_str(self.data.get())?)
    }

    /// The position within source and stream.
    ///
    /// # Errors
    /// When it is no positive number.
    pub fn sequence_number(&self) -> Result<u64, EnvelopeError> {
        self.sequence.parse().ok().filter(|number| *number > 0).ok_or(EnvelopeError::Sequence)
    }
}

/// An event before it has a place in its source's sequence.
#[derive(Debug)]
pub struct Draft<'a, P> {
    /// UUIDv7.
    pub id: uuid::Uuid,
    /// When it happened, microseconds since 1970.
    pub time_us: i64,
    /// Whose money and data.
    pub account: &'a str,
    /// What it is about.
    pub subject: &'a str,
    /// W3C trace context, when the caller sent one.
    pub traceparent: Option<&'a str>,
    /// The payload.
    pub payload: &'a P,
}

impl<P: Payload> Draft<'_, P> {
    /// Appends the event as JSON with its place in the sequence.
    ///
    /// # Errors
    /// When the payload cannot be written as JSON.
    pub fn write(&self, source: &Source, sequence: u64, into: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        self.write_unnumbered(source, into)?;
        number(sequence, into);
        Ok(())
    }

    /// Appends the event as JSON up to its place in the sequence, which [`number`] appends: so that whoever gives out sequences has
    /// little to do while others wait for theirs.
    ///
    /// # Errors
    /// When the payload cannot be written as JSON.
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
        // The closing brace comes behind the sequence.
        into.pop();
        Ok(())
    }
}

/// Ends an event that [`Draft::write_unnumbered`] began with its place in the sequence.
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
