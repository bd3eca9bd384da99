//! A composition as the suite can judge it, and in little time.

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Health, OnlineStoreBackend, PurgeProgress, PurgeReport, PutOutcome, RecordKey,
    RecordPut, Result, Scope, VersionedRecord,
};
use futures::stream::BoxStream;

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

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStoreBackend for Plain {
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

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        self.0.scan(scope)
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        self.0.purge(scope, progress).await
    }

    async fn check(&self) -> Result<Health> {
        self.0.check().await
    }

    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
