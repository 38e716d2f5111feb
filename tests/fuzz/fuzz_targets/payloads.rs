//! Payloads of every type and version: a payload that is read, written and read again stays the same.
#![no_main]

use events::control::{AccountCreated, AccountUpdated, KeyCreated, KeyDeleted, KeyDisabled, KeyUpdated};
use events::damaged::{KeyDamaged, RequestDamaged, UsageDamaged};
use events::ledger::{CreditPosted, LeaseChanged, UsagePosted};
use events::request::{RequestFinished, RequestProgress, RequestRefused, RequestStarted};
use events::usage_recorded::UsageRecorded;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn again<P: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(payload) = serde_json::from_slice::<P>(bytes) else { return };
    let written = serde_json::to_vec(&payload).expect("what was read can be written");
    assert_eq!(serde_json::from_slice::<P>(&written).expect("what was written can be read"), payload);
}

fuzz_target!(|bytes: &[u8]| {
    again::<UsageRecorded>(bytes);
    again::<RequestStarted>(bytes);
    again::<RequestProgress>(bytes);
    again::<RequestFinished>(bytes);
    again::<RequestRefused>(bytes);
    again::<AccountCreated>(bytes);
    again::<AccountUpdated>(bytes);
    again::<KeyCreated>(bytes);
    again::<KeyUpdated>(bytes);
    again::<KeyDisabled>(bytes);
    again::<KeyDeleted>(bytes);
    again::<CreditPosted>(bytes);
    again::<LeaseChanged>(bytes);
    again::<UsagePosted>(bytes);
    again::<UsageDamaged>(bytes);
    again::<RequestDamaged>(bytes);
    again::<KeyDamaged>(bytes);
});
