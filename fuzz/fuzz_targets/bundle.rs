//! `cargo +nightly fuzz run bundle`; what must hold is in `tests/it/judges/properties.rs`.

#![no_main]
#![allow(dead_code)]

#[path = "../../tests/it/judges/properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::bundle(bytes));
