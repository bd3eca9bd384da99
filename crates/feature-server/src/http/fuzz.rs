//! The bodies of the native interface.

use std::io::Read;
use std::panic::{set_hook, take_hook};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::arrow;
use super::ingest::checked;
use super::json::{self, Bounds, DeleteSeed, ReadSeed, WriteSeed};
use crate::fuzz::{LIMITS, check, memory, view};

/// Bodies of reads, writes and deletes.
pub(crate) fn json(data: &[u8]) {
    let view = view();
    for view in [None, view.as_ref()] {
        let bounds = Bounds::new(&LIMITS);
        check(json::read(data, &bounds, WriteSeed { bounds: &bounds, view }), Vec::len);
    }
    for any_view in [false, true] {
        let bounds = Bounds::new(&LIMITS);
        let read = json::read(data, &bounds, ReadSeed { bounds: &bounds, any_view });
        check(read, |body| body.entities.as_ref().map_or(0, Vec::len));
    }
    let bounds = Bounds::new(&LIMITS);
    check(json::read(data, &bounds, DeleteSeed(&bounds)), Vec::len);
}

/// Streams of record batches, of writes and of loads.
pub(crate) fn arrow(data: &[u8]) {
    static QUIET: Mutex<()> = Mutex::new(());
    let mut passed = Vec::new();
    let _ = checked(data, memory()).read_to_end(&mut passed);
    assert!(data.starts_with(&passed), "a stream is passed on as it is");
    let Ok(options) = arrow::decode::Options::of_query(Some("entities=id")) else { return };
    let (view, data) = (view(), Bytes::copy_from_slice(data));
    // What the library panics at is caught; that it says so each time would drown everything else, and end a
    // fuzzer.
    let alone = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let outcomes = [None, view.as_ref()].map(|view| arrow::decode::rows(&data, view, &options, &LIMITS));
    set_hook(hook);
    drop(alone);
    for outcome in outcomes {
        check(outcome, Vec::len);
    }
}
