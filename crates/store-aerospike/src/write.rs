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
use crate::value::{self, BIN, ORDER_BYTES};

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
    let bin = Bin::new(BIN, Value::Blob(value::encode(&order, &put.bytes)));
    Ok(BatchOperation::write(&policy(filters, &order, put)?, key, [operations::put(&bin)]))
}

/// How to write a record of this order.
fn policy(filters: &Filters, order: &[u8; ORDER_BYTES], put: &RecordPut) -> Result<BatchWritePolicy> {
    let mut policy = BatchWritePolicy {
        // The record as a whole: nothing of what was there before stays.
        record_exists_action: RecordExistsAction::Replace,
        expiration: expiration(put.ttl),
        // With it a scan can tell which entity it has found.
        send_key: true,
        ..BatchWritePolicy::default()
    };
    match &put.precondition {
        Precondition::NotNewerSameShape => policy.filter_expression = Some(filters.same_shape(order)),
        Precondition::NotNewer => policy.filter_expression = Some(filters.not_newer(order)),
        Precondition::Unchanged(None) => policy.record_exists_action = RecordExistsAction::CreateOnly,
        Precondition::Unchanged(Some(VersionedRecord { bytes, version })) => {
            policy.record_exists_action = RecordExistsAction::ReplaceOnly;
            policy.generation_policy = GenerationPolicy::ExpectGenEqual;
            policy.generation = u32::try_from(*version).unwrap_or_default();
            policy.filter_expression = Some(filters.state(&value::state(bytes)?));
        }
    }
    Ok(policy)
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
    rows.into_iter().map(|row| was_there(row, &sender.config.namespace)).collect()
}

/// Whether a delete has removed a record.
fn was_there(row: Row, namespace: &str) -> Result<bool> {
    match row.answer {
        Answer::Done(_) => Ok(true),
        // If there is nothing after an attempt of unknown outcome, then it was that which removed it.
        Answer::Code(ResultCode::KeyNotFoundError, _) => Ok(row.doubt),
        Answer::Code(_, error) => Err(from_client(&error, namespace).with_in_doubt(row.doubt)),
        Answer::Failed(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use aerospike::{IndexMap, Record};
    use bytes::Bytes;
    use feature_core::{EntityKey, Features, Record as FeatureRecord, Timestamp, ViewKey};

    use super::*;

    fn put_of(ttl: Option<Duration>, precondition: Precondition) -> RecordPut {
        RecordPut {
            key: RecordKey::new(ViewKey::new("t", "v").unwrap(), EntityKey::new("id", 1).unwrap()),
            bytes: Bytes::from_static(b"record"),
            event_time: Timestamp::from_micros(5),
            shape: 7,
            ttl,
            precondition,
        }
    }

    fn done(doubt: bool) -> Row {
        Row { answer: Answer::Done(Record::new(None, IndexMap::new(), None, 1, 0)), doubt }
    }

    fn refused(code: ResultCode, doubt: bool) -> Row {
        Row { answer: Answer::Code(code, aerospike::Error::client_error("because")), doubt }
    }

    fn failed() -> Row {
        Row { answer: Answer::Failed(Error::corrupt("as it was")), doubt: true }
    }

    #[test]
    fn each_answer_to_a_put_is_an_outcome_or_says_what_to_do() {
        use ResultCode as C;
        let put = |ttl| put_of(ttl, Precondition::NotNewer);
        let ttl = Some(Duration::from_secs(1));
        assert_eq!(outcome(done(true), &put(None), "ns").unwrap(), PutOutcome::Stored);
        assert_eq!(outcome(failed(), &put(None), "ns").unwrap_err().message(), "as it was");
        for code in [C::FilteredOut, C::KeyExistsError, C::KeyNotFoundError, C::GenerationError] {
            let outcome = outcome(refused(code, false), &put(None), "ns").unwrap();
            assert_eq!(outcome, PutOutcome::Refused(None), "{code:?}");
        }
        for (code, ttl, kind, words) in [
            (C::FailForbidden, ttl, ErrorKind::NotConfigured, "`ns` refuses records with a TTL"),
            (C::FailForbidden, None, ErrorKind::NotConfigured, "`ns` forbids the write"),
            (C::ParameterError, None, ErrorKind::LimitExceeded, "`ns` takes no more sets"),
            (C::RecordTooBig, ttl, ErrorKind::Internal, "because"),
        ] {
            for doubt in [false, true] {
                let error = outcome(refused(code, doubt), &put(ttl), "ns").unwrap_err();
                assert_eq!((error.kind(), error.in_doubt()), (kind, doubt), "{error}");
                assert!(error.message().contains(words), "{error}");
                assert_eq!(error.backend(), Some(BACKEND));
            }
        }
    }

    #[test]
    fn a_delete_that_finds_nothing_after_one_in_doubt_has_removed_it() {
        use ResultCode as C;
        assert!(was_there(done(false), "ns").unwrap());
        assert!(!was_there(refused(C::KeyNotFoundError, false), "ns").unwrap());
        assert!(was_there(refused(C::KeyNotFoundError, true), "ns").unwrap());
        assert_eq!(was_there(failed(), "ns").unwrap_err().message(), "as it was");
        for doubt in [false, true] {
            let error = was_there(refused(C::FailForbidden, doubt), "ns").unwrap_err();
            assert_eq!((error.kind(), error.in_doubt()), (ErrorKind::Internal, doubt), "{error}");
        }
    }

    #[test]
    fn a_precondition_is_left_to_the_server() {
        let filters = Filters::new().unwrap();
        let order = value::order(7, Timestamp::from_micros(5));
        let of = |precondition| {
            let put = put_of(Some(Duration::from_secs(9)), precondition);
            policy(&filters, &order, &put)
        };
        let expected = BatchWritePolicy {
            record_exists_action: RecordExistsAction::Replace,
            expiration: Expiration::Seconds(9),
            send_key: true,
            ..BatchWritePolicy::default()
        };
        let filtered = |filter| BatchWritePolicy { filter_expression: Some(filter), ..expected.clone() };
        assert_eq!(of(Precondition::NotNewer).unwrap(), filtered(filters.not_newer(&order)));
        assert_eq!(of(Precondition::NotNewerSameShape).unwrap(), filtered(filters.same_shape(&order)));
        let created =
            BatchWritePolicy { record_exists_action: RecordExistsAction::CreateOnly, ..expected.clone() };
        assert_eq!(of(Precondition::Unchanged(None)).unwrap(), created);

        let stored = FeatureRecord::of_write(Timestamp::from_micros(3), None, Features::from([("f", 1)]));
        let bytes: Bytes = stored.encode().unwrap().into();
        let unchanged = |version| {
            let bytes = bytes.clone();
            of(Precondition::Unchanged(Some(VersionedRecord { bytes, version }))).unwrap()
        };
        let replaced = |generation| BatchWritePolicy {
            record_exists_action: RecordExistsAction::ReplaceOnly,
            generation_policy: GenerationPolicy::ExpectGenEqual,
            generation,
            ..filtered(filters.state(&value::state(&bytes).unwrap()))
        };
        assert_eq!(unchanged(4), replaced(4));
        // No generation is so large: none is expected.
        assert_eq!(unchanged(1 << 32), replaced(0));
        let broken = VersionedRecord { bytes: Bytes::from_static(b"short"), version: 1 };
        assert!(of(Precondition::Unchanged(Some(broken))).is_err());
    }

    #[test]
    fn ttls_are_rounded_up_and_never_become_the_namespace_s_default() {
        for (ttl, expected) in [
            (None, Expiration::Never),
            (Some(Duration::ZERO), Expiration::Seconds(1)),
            (Some(Duration::from_nanos(1)), Expiration::Seconds(1)),
            (Some(Duration::from_secs(1)), Expiration::Seconds(1)),
            (Some(Duration::from_millis(1_500)), Expiration::Seconds(2)),
            (Some(MAX_TTL), Expiration::Seconds(315_360_000)),
            (Some(Duration::from_secs(1 << 32)), Expiration::Seconds(u32::MAX)),
        ] {
            assert_eq!(expiration(ttl), expected);
        }
    }
}
