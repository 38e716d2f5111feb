//! The readers and writers of the format Responses.
#![no_main]

mod formats;

use libfuzzer_sys::fuzz_target;
use wire::call::Format;

fuzz_target!(|bytes: &[u8]| formats::check(Format::Responses, bytes));
