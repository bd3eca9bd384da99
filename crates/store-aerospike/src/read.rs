//! Point reads.

use aerospike::{BatchOperation, BatchReadPolicy, Bins, ResultCode};
use feature_core::{RecordKey, Result, VersionedRecord};

use crate::batch::{Answer, Sender};
use crate::error::from_client;
use crate::key::Keys;
use crate::value;

type Rows = Vec<Result<Option<VersionedRecord>>>;

pub(crate) async fn get(sender: &Sender<'_>, keys: &Keys, wanted: &[RecordKey]) -> Rows {
    let policy = BatchReadPolicy::default();
    let mut maker = keys.maker();
    // There is one bin, so to ask for all of them saves its name.
    let read = |row: usize| Ok(BatchOperation::read(&policy, maker.key(&wanted[row])?, Bins::All));
    let rows = match wanted {
        [one] => vec![sender.read_one(|| keys.maker().key(one)).await],
        // In a box, since it is large, and reads of one record would carry its size about.
        _ => Box::pin(sender.send(wanted.len(), |_| 0, read)).await,
    };
    let outcome = |answer| match answer {
        Answer::Done(record) => value::decode(record).map(Some),
        Answer::Code(ResultCode::KeyNotFoundError, _) => Ok(None),
        Answer::Code(_, error) => Err(from_client(&error, &sender.config.namespace)),
        Answer::Failed(error) => Err(error),
    };
    rows.into_iter().map(|row| outcome(row.answer)).collect()
}
