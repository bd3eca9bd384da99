//! A composition as the suite can judge it, and in little time.

use feature_core::{
    CallContext, Capabilities, OnlineStoreBackend, PutOutcome, RecordKey, RecordPut, Result, VersionedRecord,
};

use crate::unified::Store;

/// The largest record: large enough to be called so, small enough to be written by each composition.
const MAX_RECORD_BYTES: usize = 1 << 20;

/// The store with smaller records, and with no versions. It has to be one that compares bytes: then a version
/// says nothing but who has answered, and the suite, which compares answers, is told nothing of that.
#[derive(Debug)]
pub(crate) struct Plain(pub(crate) Store);

fn plain(record: VersionedRecord) -> VersionedRecord {
    VersionedRecord { version: 0, ..record }
}

impl feature_core::BackendWrapper for Plain {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.0
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.0.capabilities();
        capabilities.max_record_bytes = Some(MAX_RECORD_BYTES);
        capabilities
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        let rows = self.0.get(keys, call).await;
        rows.into_iter().map(|row| Ok(row?.map(plain))).collect()
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let without_version = |outcome| match outcome {
            PutOutcome::Refused(record) => PutOutcome::Refused(record.map(plain)),
            PutOutcome::Stored => PutOutcome::Stored,
        };
        self.0.put(puts, call).await.into_iter().map(|row| row.map(without_version)).collect()
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.0.delete(keys, call).await
    }
}
