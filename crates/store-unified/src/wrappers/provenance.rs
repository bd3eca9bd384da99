//! Who has answered: a mark that bypasses the layers between a fallback and the caller who wants to know.
//!
//! The contract of a backend has no place for it, and calls on one task need none: the mark is kept with the
//! task for as long as the caller's future runs.

use std::cell::RefCell;
use std::collections::HashSet;

use feature_core::RecordKey;

tokio::task_local! {
    static FROM_FALLBACK: RefCell<HashSet<RecordKey>>;
}

/// Runs `work`, and says which records it was given by a [`Fallback`](crate::Fallback)'s second store. Calls
/// that it spawns as tasks of their own are not seen, nor those inside of another `watch`.
pub async fn watch<T>(work: impl Future<Output = T>) -> (T, HashSet<RecordKey>) {
    let mut work = std::pin::pin!(FROM_FALLBACK.scope(RefCell::default(), work));
    let output = work.as_mut().await;
    let served = work.take_value().map(RefCell::into_inner).unwrap_or_default();
    (output, served)
}

/// Tells the [`watch`] that is under way that these records come from a fallback.
pub(crate) fn note<'a>(keys: impl IntoIterator<Item = &'a RecordKey>) {
    // Mostly there is none.
    let _ = FROM_FALLBACK.try_with(|served| served.borrow_mut().extend(keys.into_iter().cloned()));
}
