//! The readers and writers of the format Generate.
#![no_main]

mod formats;

use libfuzzer_sys::fuzz_target;
use wire::call::Format;

fuzz_target!(|bytes: &[u8]| formats::check(Format::Generate, bytes));
