//! Envelopes: for any bytes, reading ends. Sequence numbers are positive, and a payload that was read can be written as JSON.
#![no_main]

use events::envelope::RawEnvelope;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(envelope) = RawEnvelope::parse(bytes) else { return };
    if let Ok(sequence) = envelope.sequence_number() {
        assert!(sequence > 0);
    }
    if let Ok(value) = envelope.payload::<serde_json::Value>() {
        assert!(serde_json::to_string(&value).is_ok());
    }
});
