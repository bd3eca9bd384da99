#![no_main]
//! Looks for exceptions to the body `server_feast`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(body) = fstore_tests::fuzz::body("server_feast") {
        body(data);
    }
});
