#![no_main]
//! Looks for exceptions to `fstore_tests::fuzz::keys`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| fstore_tests::fuzz::keys(data));
