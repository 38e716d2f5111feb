//! Records of the spool: for any bytes, reading ends and stays within them. A written record is read back byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../gateway/src/spool/record.rs"]
mod record;

fuzz_target!(|bytes: &[u8]| {
    let mut at = 0;
    while at < bytes.len() {
        match record::read(&bytes[at..]) {
            record::Found::Record(found) => {
                assert!(found.size > 0 && found.size <= record::RECORD_MAX && at + found.size <= bytes.len());
                at += found.size;
            }
            record::Found::End => break,
            record::Found::Damaged(length) => {
                assert!(length.is_none_or(|length| at + length <= bytes.len()));
                at += length.unwrap_or(1);
            }
        }
    }
    // The bytes also serve as an event. A written event is read back, and any damage to one byte is detected.
    let Some((&place, event)) = bytes.split_first() else { return };
    if !record::fits("a.b", event) {
        return;
    }
    let mut written = Vec::new();
    record::write(&mut written, events::subject::Stream::Usage, 7, uuid::Uuid::from_u128(9), "a.b", event);
    let record::Found::Record(found) = record::read(&written) else { panic!("a record that fits is not read") };
    assert_eq!((found.sequence, found.size), (7, written.len()));
    assert!(found.event.starts_with(event));
    let at = usize::from(place) % written.len();
    written[at] ^= 0x10;
    assert!(!matches!(record::read(&written), record::Found::Record(_)), "damage at {at} is not noticed");
});
