//! Records that did not come from the store that a write goes to.

use feature_core::{
    CallContext, OnlineStoreBackend, Precondition, PutOutcome, RecordPut, Result, VersionedRecord,
};

/// The version of a record that came from another store. Versions are opaque to all but the store that
/// gave them, and one that happens to be another store's too would let a write overwrite what it has not
/// seen; so a record from elsewhere carries this one.
const FOREIGN: u64 = u64::MAX;

/// The record as one that came from another store than writes go to.
pub(crate) fn foreign(record: VersionedRecord) -> VersionedRecord {
    VersionedRecord { version: FOREIGN, ..record }
}

/// Puts whose ground may be a [`foreign`] record: where the store's own record has the same bytes, that is
/// the ground; otherwise the put is refused, with the store's own record.
pub(crate) async fn put(
    store: &dyn OnlineStoreBackend,
    mut puts: Vec<RecordPut>,
    call: CallContext,
) -> Vec<Result<PutOutcome>> {
    let is_foreign = |put: &RecordPut| matches!(&put.precondition, Precondition::Unchanged(Some(ground)) if ground.version == FOREIGN);
    let numbers: Vec<usize> =
        puts.iter().enumerate().filter(|(_, put)| is_foreign(put)).map(|(number, _)| number).collect();
    if numbers.is_empty() {
        return store.put(puts, call).await;
    }
    let keys: Vec<_> = numbers.iter().map(|number| puts[*number].key.clone()).collect();
    let mut answers: Vec<Option<Result<PutOutcome>>> = vec![None; puts.len()];
    for (number, own) in numbers.into_iter().zip(store.get(&keys, call).await) {
        let Precondition::Unchanged(ground) = &mut puts[number].precondition else { continue };
        match own {
            Ok(own) if own.as_ref().map(|own| &own.bytes) == ground.as_ref().map(|ground| &ground.bytes) => {
                *ground = own;
            }
            Ok(own) => answers[number] = Some(Ok(PutOutcome::Refused(own))),
            Err(error) => answers[number] = Some(Err(error)),
        }
    }
    let mut number = 0;
    puts.retain(|_| {
        number += 1;
        answers[number - 1].is_none()
    });
    let mut put = store.put(puts, call).await.into_iter();
    answers.into_iter().filter_map(|answer| answer.or_else(|| put.next())).collect()
}
