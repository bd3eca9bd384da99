//! A backend whose server is in no hurry to reclaim.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    CallContext, OnlineStoreBackend, PutOutcome, RecordKey, RecordPut, Result, VersionedRecord,
};

/// Longer than any case takes.
const LONGER: Duration = Duration::from_secs(3_600);

/// A backend that is told a longer time to live than the record's own.
///
/// A server reclaims by a clock that no case can move. Where the case's clock stands still just before a
/// record expires, and a write merges with it, the server may rightly reclaim the record a moment later,
/// which would be before its end by the case's clock.
#[derive(Debug)]
pub(crate) struct Unhurried(pub(crate) Arc<dyn OnlineStoreBackend>);

impl feature_core::BackendWrapper for Unhurried {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.0
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        self.0.get(keys, call).await
    }

    async fn put(&self, mut puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        for put in &mut puts {
            put.ttl = put.ttl.map(|ttl| ttl.saturating_add(LONGER));
        }
        self.0.put(puts, call).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.0.delete(keys, call).await
    }
}
