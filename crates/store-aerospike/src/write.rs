//! Puts and deletes.

use std::time::Duration;

use aerospike::{
    BatchDeletePolicy, BatchOperation, BatchWritePolicy, Bin, Expiration, GenerationPolicy, Key,
    RecordExistsAction, ResultCode, Value, operations,
};
use feature_core::{
    Error, ErrorKind, Precondition, PutOutcome, RecordKey, RecordPut, Result, VersionedRecord,
};

use crate::batch::{Answer, Row, Sender};
use crate::error::{BACKEND, from_client};
use crate::filter::Filters;
use crate::key::Keys;
use crate::value::{self, BIN};

/// Longest time to live that the server takes.
pub const MAX_TTL: Duration = Duration::from_secs(3_650 * 86_400);

pub(crate) async fn put(
    sender: &Sender<'_>,
    keys: &Keys,
    filters: &Filters,
    puts: &[RecordPut],
) -> Vec<Result<PutOutcome>> {
    let mut keys = keys.maker();
    let write = |row: usize| operation(filters, keys.key(&puts[row].key)?, &puts[row]);
    let rows = sender.send(puts.len(), |row| puts[row].bytes.len(), write).await;
    let namespace = &sender.config.namespace;
    rows.into_iter().zip(puts).map(|(row, put)| outcome(row, put, namespace)).collect()
}

fn operation(filters: &Filters, key: Key, put: &RecordPut) -> Result<BatchOperation> {
    let order = value::order(put.shape, put.event_time);
    let mut policy = BatchWritePolicy {
        // The record as a whole: nothing of what was there before stays.
        record_exists_action: RecordExistsAction::Replace,
        expiration: expiration(put.ttl),
        // With it a scan can tell which entity it has found.
        send_key: true,
        ..BatchWritePolicy::default()
    };
    match &put.precondition {
        Precondition::NotNewerSameShape => policy.filter_expression = Some(filters.same_shape(&order)),
        Precondition::NotNewer => policy.filter_expression = Some(filters.not_newer(&order)),
        Precondition::Unchanged(None) => policy.record_exists_action = RecordExistsAction::CreateOnly,
        Precondition::Unchanged(Some(VersionedRecord { bytes, version })) => {
            policy.record_exists_action = RecordExistsAction::ReplaceOnly;
            policy.generation_policy = GenerationPolicy::ExpectGenEqual;
            policy.generation = u32::try_from(*version).unwrap_or_default();
            policy.filter_expression = Some(filters.state(&value::state(bytes)?));
        }
    }
    let bin = Bin::new(BIN, Value::Blob(value::encode(&order, &put.bytes)));
    Ok(BatchOperation::write(&policy, key, [operations::put(&bin)]))
}

/// In whole seconds, rounded up.
fn expiration(ttl: Option<Duration>) -> Expiration {
    match ttl {
        None => Expiration::Never,
        Some(ttl) => {
            let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
            // Zero would be the namespace's default.
            Expiration::Seconds(u32::try_from(seconds).unwrap_or(u32::MAX).max(1))
        }
    }
}

fn outcome(row: Row, put: &RecordPut, namespace: &str) -> Result<PutOutcome> {
    use ResultCode as C;
    let (code, error) = match row.answer {
        Answer::Done(_) => return Ok(PutOutcome::Stored),
        Answer::Failed(error) => return Err(error),
        Answer::Code(code, error) => (code, error),
    };
    let configured =
        |kind, message| Error::new(kind, message).with_backend(BACKEND).with_source(error.clone());
    let error = match code {
        C::FilteredOut | C::KeyExistsError | C::KeyNotFoundError | C::GenerationError => {
            return Ok(PutOutcome::Refused(None));
        }
        C::FailForbidden if put.ttl.is_some() => configured(
            ErrorKind::NotConfigured,
            format!(
                "the namespace `{namespace}` refuses records with a TTL: set its nsup-period (such as 120), or \
                 allow-ttl-without-nsup, or write with the TTL `never`"
            ),
        ),
        C::FailForbidden => configured(
            ErrorKind::NotConfigured,
            format!(
                "the namespace `{namespace}` forbids the write: the set has reached its stop-writes-count or \
                 stop-writes-size, or was truncated as of a moment that has not come by the server's clock"
            ),
        ),
        C::ParameterError => configured(
            ErrorKind::LimitExceeded,
            format!(
                "the namespace `{namespace}` takes no more sets, most likely because it has all 4095 it can \
                 have: use layout=single, or another namespace"
            ),
        ),
        _ => from_client(&error, namespace),
    };
    Err(error.with_in_doubt(row.doubt))
}

pub(crate) async fn delete(sender: &Sender<'_>, keys: &Keys, doomed: &[RecordKey]) -> Vec<Result<bool>> {
    let mut keys = keys.maker();
    delete_keys(sender, doomed.len(), |row| keys.key(&doomed[row])).await
}

pub(crate) async fn delete_keys(
    sender: &Sender<'_>,
    count: usize,
    mut key: impl FnMut(usize) -> Result<Key>,
) -> Vec<Result<bool>> {
    let policy =
        BatchDeletePolicy { durable_delete: sender.config.durable_delete, ..BatchDeletePolicy::default() };
    let rows = sender.send(count, |_| 0, |row| Ok(BatchOperation::delete(&policy, key(row)?))).await;
    let outcome = |row: Row| match row.answer {
        Answer::Done(_) => Ok(true),
        // If there is nothing after an attempt of unknown outcome, then it was that which removed it.
        Answer::Code(ResultCode::KeyNotFoundError, _) => Ok(row.doubt),
        Answer::Code(_, error) => Err(from_client(&error, &sender.config.namespace).with_in_doubt(row.doubt)),
        Answer::Failed(error) => Err(error),
    };
    rows.into_iter().map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttls_are_rounded_up_and_never_become_the_namespace_s_default() {
        for (ttl, expected) in [
            (None, Expiration::Never),
            (Some(Duration::from_micros(1)), Expiration::Seconds(1)),
            (Some(Duration::from_secs(1)), Expiration::Seconds(1)),
            (Some(Duration::from_micros(1_000_001)), Expiration::Seconds(2)),
            (Some(MAX_TTL), Expiration::Seconds(315_360_000)),
        ] {
            assert_eq!(expiration(ttl), expected);
        }
    }
}
