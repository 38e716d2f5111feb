//! Envelopes: whatever the bytes, reading them ends; what was read can be read again from what its payload says.
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
